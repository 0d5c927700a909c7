"""The commands that manage a federation's members: `fedge init`, `enroll`, `revoke`, `quarantine`, …"""
