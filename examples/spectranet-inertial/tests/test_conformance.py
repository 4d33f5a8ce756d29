"""The contract of a modality, as SpectraNet's conformance kit checks it: every test is inherited.

`python -m spectranet.testing` lists what they ask.
"""

from __future__ import annotations

from spectranet.testing import ModalityConformance


class TestInertial(ModalityConformance):
    plugin, name = "inertial", "inertial"
    # Small, so that the tests are quick. Everything that changes shapes should differ from the defaults.
    options = {  # noqa: RUF012
        "rate_hz": 40.0, "max_seconds": 3.0, "patch_s": 0.1, "segment_s": 0.5,
        "width": 32, "layers": 2, "heads": 2, "mlp_hidden": 48,
    }  # fmt: skip
