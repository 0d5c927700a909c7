"""Secure aggregation: the server learns the sum of the updates and no single one of them.

The protocol is that of Bonawitz et al. 2017, "Practical Secure Aggregation for Privacy-Preserving Machine
Learning", CCS, https://doi.org/10.1145/3133956.3133982, figure 4 with the consistency check. More than 64
devices share masks and secrets with some of the others only, as in Bell et al. 2020, "Secure Single-Server
Aggregation with (Poly)Logarithmic Overhead", CCS, https://doi.org/10.1145/3372297.3417885. docs/masking.md
tells it in a page.

Everything here is pure: `device.step` and `server.step` take time, randomness and signatures as arguments.
`fedge.masking.ciphers` imports `cryptography` (the extra `secure`) within its functions.
"""
