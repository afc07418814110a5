"""The SOAP reference algorithm."""
