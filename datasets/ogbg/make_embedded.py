"""Makes the files in embedded/ from molecules that the package rdkit ships.

    pip install rdkit==2026.9.1
    python -m algoperf.datasets.ogbg.make_embedded

The first 5,000 molecules of the NCI open database become graphs with OGB's node and
edge features. Of 128 labels 85 say whether a molecule holds a fragment (rdkit's
`Fragments`), the others whether a descriptor exceeds a quantile over all molecules; a
fixed random 10 % count as not measured. Nothing but this script needs rdkit.
"""

from pathlib import Path
from typing import Any

import numpy as np
from rdkit import Chem, RDConfig, rdBase
from rdkit.Chem import Descriptors, Fragments

from . import tables
from .reader import NUM_TASKS

_SEED = 20261
_SIZES = {"train": 3_200, "valid": 800, "test": 800}
# The published budgets leave room for 52 nodes and 56 edges a direction in the smallest
# batch that tests use: 16 graphs in 8 parts.
_MAX_ATOMS = 50
_MISSING_SHARE = 0.1
_QUANTILES = (0.1, 0.3, 0.5, 0.7, 0.9)
_DESCRIPTORS = (
    "MolWt",
    "MolLogP",
    "TPSA",
    "NumHDonors",
    "NumHAcceptors",
    "NumRotatableBonds",
    "FractionCSP3",
    "BertzCT",
    "MolMR",
)
# OGB's vocabularies (ogb.utils.features): an index into a list, its last entry for
# everything else.
_CHIRALITY = (
    "CHI_UNSPECIFIED",
    "CHI_TETRAHEDRAL_CW",
    "CHI_TETRAHEDRAL_CCW",
    "CHI_OTHER",
)
_HYBRIDIZATION = ("SP", "SP2", "SP3", "SP3D", "SP3D2")
_BOND_TYPE = ("SINGLE", "DOUBLE", "TRIPLE", "AROMATIC")
_STEREO = (
    "STEREONONE",
    "STEREOZ",
    "STEREOE",
    "STEREOCIS",
    "STEREOTRANS",
    "STEREOANY",
)


def _index(value: Any, known: tuple[Any, ...] | range) -> int:
    """Place of `value` in a vocabulary; its length for a value that it lacks."""
    return known.index(value) if value in known else len(known)


def atom_features(atom: Chem.Atom) -> list[int]:
    """OGB's nine node features."""
    return [
        _index(atom.GetAtomicNum(), range(1, 119)),
        _index(str(atom.GetChiralTag()), _CHIRALITY),
        _index(atom.GetTotalDegree(), range(11)),
        _index(atom.GetFormalCharge(), range(-5, 6)),
        _index(atom.GetTotalNumHs(), range(9)),
        _index(atom.GetNumRadicalElectrons(), range(5)),
        _index(str(atom.GetHybridization()), _HYBRIDIZATION),
        int(atom.GetIsAromatic()),
        int(atom.IsInRing()),
    ]


def bond_features(bond: Chem.Bond) -> list[int]:
    """OGB's three edge features."""
    return [
        _index(str(bond.GetBondType()), _BOND_TYPE),
        _index(str(bond.GetStereo()), _STEREO),
        int(bond.GetIsConjugated()),
    ]


def read_molecules(path: Path) -> list[Chem.Mol]:
    """The distinct molecules of a SMILES file, up to `_MAX_ATOMS` heavy atoms."""
    rdBase.DisableLog("rdApp.*")
    found: dict[str, Chem.Mol] = {}
    for line in path.read_text().splitlines():
        molecule = Chem.MolFromSmiles(line.split()[0])
        if molecule is not None and molecule.GetNumAtoms() <= _MAX_ATOMS:
            found.setdefault(Chem.MolToSmiles(molecule), molecule)
    return list(found.values())


def make_labels(molecules: list[Chem.Mol]) -> np.ndarray:
    """Labels 0, 1 and NaN, float64 [molecules, 128]."""
    fragments = [f for name, f in sorted(vars(Fragments).items()) if name[:3] == "fr_"]
    columns = [[float(f(m) > 0) for m in molecules] for f in fragments]
    for name in _DESCRIPTORS:
        values = np.array([getattr(Descriptors, name)(m) for m in molecules])
        columns += [values > bound for bound in np.quantile(values, _QUANTILES)]
    labels = np.array(columns, np.float64).T[:, :NUM_TASKS]
    rng = np.random.Generator(np.random.Philox(_SEED + 1))
    return np.where(rng.random(labels.shape) < _MISSING_SHARE, np.nan, labels)


def make_embedded(source: Path, folder: Path) -> None:
    """Writes OGB's nine files, all in one folder."""
    molecules = read_molecules(source)
    rng = np.random.Generator(np.random.Philox(_SEED))
    order = rng.permutation(len(molecules))[: sum(_SIZES.values())]
    molecules = [molecules[i] for i in sorted(order)]
    atoms = [[atom_features(a) for a in m.GetAtoms()] for m in molecules]
    bonds = [list(m.GetBonds()) for m in molecules]
    ends = [[b.GetBeginAtomIdx(), b.GetEndAtomIdx()] for bs in bonds for b in bs]
    contents = {
        "node-feat": np.concatenate(atoms),
        "edge": np.array(ends),
        "edge-feat": np.array([bond_features(b) for bs in bonds for b in bs]),
        "num-node-list": np.array([[len(a)] for a in atoms]),
        "num-edge-list": np.array([[len(b)] for b in bonds]),
        "graph-label": make_labels(molecules),
    }
    shuffled = rng.permutation(len(molecules))
    for split, size in _SIZES.items():
        contents[split], shuffled = shuffled[:size, np.newaxis], shuffled[size:]
    for name, table in contents.items():
        tables.write(folder / f"{name}.csv.gz", table)


if __name__ == "__main__":
    make_embedded(
        Path(RDConfig.RDDataDir) / "NCI" / "first_5K.smi",
        Path(__file__).parent / "embedded",
    )
