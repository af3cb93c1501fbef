"""Body models: SMPL, SMAL and kin: their files, families and posing."""
