"""What runs made, for programs of others: in-toto Statements with a SLSA Provenance predicate, and their envelopes."""
