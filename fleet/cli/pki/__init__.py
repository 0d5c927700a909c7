"""`fedge init`, `enroll`, `revoke`, `quarantine`, `renew`, `devices`, …: who belongs to a federation."""
