"""The Distributed Shampoo reference algorithm."""
