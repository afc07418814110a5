"""The style sheet of the HTML report: light and dark, narrow and wide, screen and paper."""

from ..palette import DRAWINGS, LIGHT, series, themes, variables

NUM_HEATS = 10


def _heats() -> str:
    return "\n".join(
        f".h{i}{{background:color-mix(in srgb,var(--heat) {i * 100 // NUM_HEATS}%,"
        "var(--page))}"
        for i in range(1, NUM_HEATS + 1)
    )


def css() -> str:
    """The whole style sheet."""
    return "\n".join(
        [
            themes(),
            _PAGE,
            _TABLES,
            _heats(),
            _CHARTS,
            DRAWINGS,
            series(),
            _letters(),
            _WIDE,
            _NARROW,
            f"@media print{{:root{{color-scheme:light;{variables(LIGHT)}}}{_PRINT}}}",
            "",
        ]
    )


_PAGE = """
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%;scroll-padding-top:4rem}
body{margin:0;background:var(--page);color:var(--ink);
  font:16px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif}
header,footer,.page{max-width:1600px;margin:0 auto;padding:0 24px}
header{padding-top:36px}
h1{font-size:1.9rem;line-height:1.2;margin:0 0 20px;letter-spacing:-.012em}
h2{font-size:1.35rem;line-height:1.3;margin:0 0 6px;letter-spacing:-.006em}
h3{font-size:.95rem;line-height:1.35;margin:0 0 4px;overflow-wrap:anywhere}
section{margin:52px 0 0}
section:first-child{margin-top:28px}
main:focus{outline:none}
p{margin:0 0 12px}
a{color:var(--link)}
.lead{max-width:76ch;color:var(--quiet);margin-bottom:20px}
.note{font-size:.85rem;color:var(--quiet);margin:8px 0 0;max-width:90ch}
.skip{position:absolute;left:-999px;top:8px;padding:8px 14px;background:var(--page);z-index:9}
.skip:focus{left:12px}
:focus-visible{outline:2px solid var(--link);outline-offset:2px;border-radius:3px}
.facts{display:flex;flex-wrap:wrap;gap:10px 36px;margin:0 0 24px}
.facts div{min-width:0}
.facts dt{font-size:.8rem;color:var(--quiet)}
.facts dd{margin:0;font-size:1.1rem;font-weight:600;overflow-wrap:anywhere}
.sections{position:sticky;top:0;z-index:6;background:var(--page);overflow-x:auto;
  border-top:1px solid var(--line);border-bottom:1px solid var(--line);scrollbar-width:thin}
.sections ul{list-style:none;display:flex;gap:2px 4px;margin:0;padding:6px 0;font-size:.92rem}
.sections a{display:block;padding:5px 10px;text-decoration:none;white-space:nowrap;
  border-radius:5px;outline-offset:-2px}
.sections a:hover{text-decoration:underline}
.sections a[aria-current]{background:var(--raised);color:var(--ink);font-weight:600}
.trail ol{list-style:none;display:flex;flex-wrap:wrap;gap:2px 8px;margin:0 0 10px;padding:0;
  font-size:.9rem}
.trail li+li::before{content:"/";margin-right:8px;color:var(--quiet)}
.data{display:flex;flex-wrap:wrap;gap:8px;margin:0 0 20px}
button.plain{font:inherit;font-size:.88rem;color:var(--ink);background:var(--raised);cursor:pointer;
  border:1px solid var(--line);border-radius:6px;padding:4px 12px}
button.plain:hover{border-color:var(--quiet)}
.banner,.warnings,.notes{border-left:4px solid var(--line);border-radius:4px;
  padding:12px 18px;margin:0 0 16px;background:var(--raised)}
.banner{background:var(--stop-page);color:var(--stop-ink);border-color:var(--stop-line);
  font-weight:600}
.warnings{background:var(--warn-page);color:var(--warn-ink);border-color:var(--warn-line)}
.warnings h2,.notes h2{font-size:1rem;margin-bottom:2px}
.warnings summary,.notes summary{color:inherit;padding:0}
.warnings summary h2,.notes summary h2{display:inline;margin:0}
.warnings ul,.notes ul{margin:0;padding-left:20px}
.warnings li,.notes li{overflow-wrap:anywhere}
pre{background:var(--raised);border:1px solid var(--line);border-radius:6px;padding:12px 14px;
  margin:0 0 20px;overflow-x:auto;font:13.5px/1.5 ui-monospace,"SF Mono",Menlo,Consolas,monospace;
  white-space:pre-wrap;overflow-wrap:anywhere}
.label{font-weight:600;font-size:.95rem;margin:0 0 6px}
footer{color:var(--quiet);font-size:.85rem;padding-top:40px;padding-bottom:48px}
"""

_TABLES = """
.block{margin:0 0 28px}
.scroll.tall{max-height:min(80vh,900px)}
.scroll.fits{max-height:none;overflow:visible}
.scroll{position:relative;overflow:auto;border:1px solid var(--line);border-radius:8px;background:
  linear-gradient(90deg,var(--page) 40%,transparent) 0 0/36px 100% no-repeat local,
  linear-gradient(270deg,var(--page) 40%,transparent) 100% 0/36px 100% no-repeat local,
  linear-gradient(90deg,var(--shade),transparent) 0 0/14px 100% no-repeat scroll,
  linear-gradient(270deg,var(--shade),transparent) 100% 0/14px 100% no-repeat scroll,
  var(--page)}
table{border-collapse:separate;border-spacing:0;width:100%;font-size:14.5px;line-height:20px;
  font-variant-numeric:tabular-nums}
caption{text-align:left;padding:11px 14px 9px;font-weight:600;font-size:.95rem;
  border-bottom:1px solid var(--line)}
caption span{position:sticky;left:14px;display:inline-block;max-width:min(100%,76vw)}
th,td{padding:8px 14px;text-align:left;vertical-align:top;border-bottom:1px solid var(--line)}
tbody tr:last-child>*{border-bottom:0}
thead th{font-weight:600;font-size:13px;color:var(--quiet);vertical-align:bottom;
  background:var(--raised);position:sticky;top:0;z-index:2}
.fits thead th{top:var(--bar,0px)}
thead th:not(.n){white-space:nowrap}
tbody th{font-weight:500;position:sticky;left:0;z-index:1;background:var(--page);
  background-clip:padding-box;min-width:7.5rem}
thead th.first{left:0;z-index:3}
.n{text-align:right}
td.n{white-space:nowrap}
td:not(.n){min-width:11rem;overflow-wrap:anywhere}
td.s:not(.n){min-width:0;white-space:nowrap}
td.s small{white-space:normal;min-width:11rem}
small{display:block;font-size:13px;line-height:18px;color:var(--quiet)}
tbody tr:hover>th,tbody tr:hover>td:not([class*=" h"],[class^=h]){background:var(--raised)}
[class*=" h"] small,td[class^=h] small{color:var(--ink)}
th button{all:unset;cursor:pointer;color:inherit;font:inherit;text-align:inherit}
th button:focus-visible{outline:2px solid var(--link);outline-offset:3px;border-radius:2px}
th button:hover{color:var(--ink);text-decoration:underline}
th button::after{content:"\\2195";opacity:.45;margin-left:.3em;font-size:.9em}
th[aria-sort=ascending] button::after{content:"\\2191";opacity:1}
th[aria-sort=descending] button::after{content:"\\2193";opacity:1}
th[aria-sort=ascending],th[aria-sort=descending]{color:var(--ink)}
details.block{margin:0 0 10px}
summary{cursor:pointer;color:var(--link);font-size:.95rem;padding:6px 0;overflow-wrap:anywhere}
caption button{float:right;position:sticky;right:14px;margin:-3px 0 -3px 12px}
details[open]>summary{margin-bottom:6px}
.measure{display:flex;justify-content:flex-end;align-items:center;gap:16px}
.whisker{flex:0 0 auto;width:150px;height:18px}
.whisker line{stroke:var(--line);stroke-width:1.5}
.whisker .range{stroke:var(--c0);stroke-width:3;stroke-linecap:round;opacity:.55}
.whisker circle{fill:var(--c0)}
.live{position:absolute;width:1px;height:1px;overflow:hidden;clip-path:inset(50%)}
"""

_CHARTS = """
.charts{display:grid;gap:20px;grid-template-columns:repeat(auto-fill,minmax(min(100%,404px),1fr))}
.charts.wide{grid-template-columns:repeat(auto-fill,minmax(min(100%,470px),1fr))}
figure{margin:0;padding:14px 14px 8px;border:1px solid var(--line);border-radius:8px;min-width:0;
  container-type:inline-size}
figcaption{font-weight:600;font-size:.95rem;margin:0 0 6px;overflow-wrap:anywhere}
figcaption small{display:inline-block;font-weight:400;margin-left:.5em}
figure svg{display:block;width:100%;max-width:640px;height:auto;margin:0 auto}
figure svg text{font-size:12.5px}
.view{display:none}
.view.on{display:inline}
.faded{opacity:.12}
.legend{list-style:none;display:flex;flex-wrap:wrap;gap:6px 8px;margin:0 0 14px;padding:0}
.legend li>*{display:inline-flex;align-items:center;gap:8px;font:inherit;font-size:.88rem;
  color:var(--ink);background:none;border:1px solid var(--line);border-radius:99px;
  padding:3px 13px 3px 10px;overflow-wrap:anywhere;text-align:left}
.legend button{cursor:pointer}
.legend button:hover{background:var(--raised)}
.legend [aria-pressed=false]{color:var(--quiet);text-decoration:line-through;
  border-style:dashed}
.legend [aria-pressed=false] svg{opacity:.25}
.legend b{font-weight:600;font-variant-numeric:tabular-nums}
.switches{display:flex;flex-wrap:wrap;gap:8px 24px;margin:0 0 14px;font-size:.88rem}
.switches[hidden]{display:none}
.switches div{display:flex;align-items:center;flex-wrap:wrap}
.switches span{color:var(--quiet);margin-right:10px}
.switches button{font:inherit;color:var(--ink);background:none;cursor:pointer;padding:4px 12px;
  border:1px solid var(--line)}
.switches button:first-of-type{border-radius:6px 0 0 6px}
.switches button:last-of-type{border-radius:0 6px 6px 0}
.switches button+button{margin-left:-1px}
.switches [aria-pressed=true]{background:var(--heat);font-weight:600}
.swatch{flex:0 0 auto;width:26px;height:8px}
#bubble{position:fixed;z-index:8;pointer-events:none;max-width:min(320px,90vw);padding:7px 11px;
  border-radius:6px;background:var(--ink);color:var(--page);font-size:.82rem;line-height:1.4;
  white-space:pre-line;overflow-wrap:anywhere;box-shadow:0 2px 10px rgb(0 0 0/.25)}
#bubble[hidden]{display:none}
"""

# Letters of drawings keep at least 12 pixels where a drawing is scaled down: (the widest figure's
# content in pixels, units of a letter) for drawings of 380 and of 440 units' width.
_LETTERS = {
    "small": ((365, 13.5), (335, 14.5), (312, 15.5), (290, 17)),
    "large": ((425, 13.5), (390, 14.5), (360, 15.8), (330, 17), (305, 18.5), (280, 20)),
}


def _letters() -> str:
    wide = "@container (min-width:520px){figure.large svg text{font-size:10.6px}}"
    return wide + "\n".join(
        f"@container (max-width:{width}px){{figure.{kind} svg text{{font-size:{size}px}}}}"
        for kind, steps in _LETTERS.items()
        for width, size in steps
    )


_WIDE = """
@media (min-width:1180px){
html{scroll-padding-top:1.5rem}
.page{display:grid;grid-template-columns:200px minmax(0,1fr);gap:40px}
.sections{top:0;align-self:start;max-height:100vh;overflow:hidden auto;border:0;padding:24px 0}
.sections ul{flex-direction:column;padding:0}
.sections a{white-space:normal;padding:4px 10px;border-left:3px solid transparent;border-radius:0}
.sections a[aria-current]{border-color:var(--link)}
}
"""

_NARROW = """
@media (max-width:640px){
header,footer,.page{padding-left:16px;padding-right:16px}
header{padding-top:24px}
h1{font-size:1.5rem}
section{margin-top:40px}
th,td{padding:7px 10px}
caption{padding-left:10px}
caption span{left:10px;max-width:min(100%,calc(100vw - 140px))}
table{font-size:14px}
tbody th{max-width:9.5rem;overflow-wrap:anywhere}
thead th.first{max-width:9.5rem}
.whisker{display:none}
figure{padding:12px 8px 6px}
figcaption{padding-left:4px}
.facts{gap:8px 26px}
}
"""

_PRINT = """
body{font-size:10pt}
header,footer,.page{max-width:none;padding:0;display:block}
nav,.skip,th button::after,#bubble,.live,.switches,.data,caption button{display:none}
section{margin-top:24pt}
h2,.lead,caption{break-after:avoid}
tr,figure,.banner,.warnings,.legend{break-inside:avoid}
.scroll,.scroll.tall{overflow:visible;max-height:none;border-color:#999}
thead th{position:static}
table{font-size:7.5pt}
th,td{padding:3pt 5pt}
tbody th{position:static;min-width:0}
td:not(.n){min-width:0}
.whisker{width:80px}
.charts,.charts.wide{grid-template-columns:repeat(2,1fr);gap:10pt}
caption,.label,figcaption{font-size:9pt}
thead th,small,.note{font-size:7pt}
summary{display:none}
details::details-content{content-visibility:visible;block-size:auto}
*{print-color-adjust:exact;-webkit-print-color-adjust:exact}
@page{margin:14mm}
"""
