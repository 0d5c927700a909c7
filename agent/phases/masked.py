"""Masked training: devices train as in `train` and promise an update, which leaves them under masks alone."""

import os
from typing import ClassVar

import numpy as np

from agent.core.protection import noise_promised
from agent.core.state import MaskedUpdate
from agent.phases.phase import Cancelled, Contribution, Equipment
from agent.phases.train import Train
from agent.trainers.assignment import Assignment
from fedge.algorithms.codecs.seeds import vector_seed
from fedge.algorithms.registry import CODECS, Entry
from fedge.identity.certified_keys import read_own
from fedge.masking.noise import NoisyLevels
from fedge.masking.ring import Ring
from fedge.masking.round_messages import DRAWN_BYTES, Promise
from fedge.privacy.randomness import System
from fedge.wire.freshness import round_of
from fedge.wire.messages.update import WEIGHTS, Update


class Masked:
    """The round asks for training as the plan describes, and for secure aggregation."""

    name: ClassVar[str] = "masked"
    needs_model: ClassVar[bool] = True
    needs_state: ClassVar[bool] = False
    tells_data: ClassVar[bool] = False

    def contribute(self, assignment: Assignment, equipment: Equipment, cancelled: Cancelled) -> Contribution:
        """Return a promise, and the update as levels, which stays here.

        Its entries are clipped and rounded at random; with distributed noise the whole change is clipped and
        rounded to the nearest level, and has this device's share of the noise.
        """
        manifest, base, settings = assignment.manifest, assignment.weights, equipment.settings
        assert manifest.protection is not None
        assert manifest.model is not None
        assert manifest.plan is not None
        asked = manifest.protection.masked
        assert asked is not None
        assert asked.clip is not None
        assert base is not None
        if manifest.plan.codec != "float32" or manifest.plan.personal is not None:
            raise ValueError("a masked round has neither a codec nor models of the devices' own")
        made = Train().contribute(assignment, equipment, cancelled)
        update = made.message
        assert isinstance(update, Update)
        if update.vectors:
            raise ValueError(
                f"a masked round has no further vectors, and this one asks for {set(update.vectors)}"
            )
        trained = CODECS.make("float32").decode(update.body, len(base), 0)
        change = trained.astype(np.float64) - base.astype(np.float64)
        privacy = manifest.protection.privacy
        if privacy is not None and privacy.mechanism == "distributed":
            levels = NoisyLevels.promised(privacy, asked).noised(base, trained, System())
        else:
            ring = Ring(asked.value_bits, 1)
            seed = vector_seed(manifest.seed, *round_of(manifest), settings.device, WEIGHTS)
            levels = ring.rounded(change, asked.clip, seed).astype(np.int64)
        drawn = None if asked.groups is None else os.urandom(DRAWN_BYTES)
        certificate, key = settings.broker.certificate, settings.broker.key
        assert certificate is not None
        assert key is not None
        return Contribution(
            message=Promise(
                generation=manifest.generation,
                round=manifest.round,
                base=manifest.model.digest,
                device=settings.device,
                certificate=read_own(certificate, key).certificate,
                drawn=drawn,
            ),
            masked=MaskedUpdate(
                round=round_of(manifest),
                base=manifest.model.digest,
                value_bits=asked.value_bits,
                clip=asked.clip,
                weight=max(1, min(update.samples, asked.max_weight or 1)),
                levels=levels.astype("<i2").tobytes(),
                drawn=drawn or b"",
                promised=noise_promised(manifest.protection),
            ),
            samples=update.samples,
        )


ENTRY = Entry("phase", "masked", Masked)
