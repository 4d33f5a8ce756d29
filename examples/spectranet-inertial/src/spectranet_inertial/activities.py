"""What people do, as a simulation needs it: how often, how strongly, in which posture, and in which words.

Frequencies are those of the literature on gait: walking 1.4 to 2.3 steps a second, running 2.2 to 3.3; a
stride, which swings thigh and arm once, is two steps.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["ACTIVITIES", "LYING", "PLACEMENTS", "SITTING", "STANDING", "Activity", "Placement"]

STANDING, SITTING, LYING = "standing", "sitting", "lying"


@dataclass(frozen=True)
class Activity:
    """Amplitudes are of acceleration in g and of rotation in rad.

    Attributes:
        words: what somebody "…": a verb in the third person.
        pace_hz: steps, or repetitions of the trunk's movement, a second; 0: none.
        paces: whether it can be done slowly or quickly and still is the same.
        bounce, push, sway: up and down, to and fro at ``pace_hz``, sideways at half of it.
        impact: the peak of each foot strike.
        thigh, arm, trunk: swing of each at ``swings`` times ``pace_hz``.
        spin_rads: steady turning about the vertical.
        rumble: broad vibration of a vehicle.
        flight: share of each repetition without any support, as in jumping.
        ends_in_fall: the person falls at some moment and stays down.
    """

    words: tuple[str, ...]
    posture: str = STANDING
    pace_hz: float = 0.0
    paces: bool = False
    bounce: float = 0.0
    push: float = 0.0
    sway: float = 0.0
    impact: float = 0.0
    thigh: float = 0.0
    arm: float = 0.0
    trunk: float = 0.0
    swings: float = 0.5
    spin_rads: float = 0.0
    rumble: float = 0.0
    flight: float = 0.0
    ends_in_fall: bool = False


@dataclass(frozen=True)
class Placement:
    """Where the device is.

    Attributes:
        words: "the phone is …".
        limb: which swing of an activity turns it.
        damping: share of the trunk's bounce and impacts that arrives there.
        upright: rotation vector from the device's axes to the world's (z up) in each posture, in rad.
    """

    words: tuple[str, ...]
    limb: str
    damping: float
    upright: dict[str, tuple[float, float, float]]


_TURN = 1.5708
ACTIVITIES = {
    "walking": Activity(
        ("walks", "is walking", "goes on foot"),
        pace_hz=1.8, paces=True, bounce=0.25, push=0.15, sway=0.08, impact=0.3, thigh=0.4, arm=0.35,
        trunk=0.05,
    ),
    "running": Activity(
        ("runs", "is running", "jogs"),
        pace_hz=2.7, paces=True, bounce=1.0, push=0.4, sway=0.2, impact=1.3, thigh=0.7, arm=0.6, trunk=0.1,
    ),
    "climbing": Activity(
        ("climbs stairs", "walks up the stairs", "goes upstairs"),
        pace_hz=1.5, paces=True, bounce=0.3, push=0.08, sway=0.15, impact=0.1, thigh=0.65, arm=0.15,
        trunk=0.12,
    ),
    "descending": Activity(
        ("comes down the stairs", "walks down the stairs", "goes downstairs"),
        pace_hz=2.0, paces=True, bounce=0.3, push=0.05, sway=0.06, impact=0.9, thigh=0.25, arm=0.15,
        trunk=0.04,
    ),
    "cycling": Activity(
        ("rides a bicycle", "is cycling", "pedals"),
        posture=SITTING, pace_hz=1.2, paces=True, bounce=0.04, thigh=0.45, arm=0.04, trunk=0.04, swings=1.0,
        rumble=0.12,
    ),
    "rowing": Activity(
        ("rows", "is rowing", "pulls the oars"),
        posture=SITTING, pace_hz=0.5, paces=True, push=0.3, thigh=0.3, arm=0.7, trunk=0.4, swings=1.0,
    ),
    "squatting": Activity(
        ("does squats", "is squatting again and again", "bends the knees repeatedly"),
        pace_hz=0.55, paces=True, bounce=0.2, thigh=0.7, arm=0.1, trunk=0.25, swings=1.0,
    ),
    "jumping": Activity(
        ("jumps on the spot", "is jumping", "hops"), pace_hz=1.4, flight=0.4, thigh=0.15, arm=0.3, trunk=0.05,
    ),
    "skipping": Activity(
        ("skips rope", "jumps with a rope", "is skipping a rope"),
        pace_hz=2.2, flight=0.3, thigh=0.08, arm=0.5, trunk=0.03, swings=1.0,
    ),
    "turning": Activity(
        ("turns on the spot", "spins around", "is turning round and round"), spin_rads=2.2, sway=0.03,
    ),
    "sitting": Activity(("sits still", "is sitting", "rests on a chair"), posture=SITTING),
    "standing": Activity(
        ("stands still", "is standing", "waits on the feet"), pace_hz=0.3, sway=0.01, trunk=0.02,
        thigh=0.02, arm=0.03,
    ),
    "lying": Activity(("lies down", "is lying flat", "lies in bed"), posture=LYING),
    "riding": Activity(
        ("rides in a bus", "sits in a moving bus", "is a passenger in a bus"),
        posture=SITTING, pace_hz=0.12, push=0.12, sway=0.08, rumble=0.08,
    ),
    "falling": Activity(
        ("walks and falls", "stumbles and falls down", "trips and falls"),
        pace_hz=1.7, bounce=0.25, push=0.15, sway=0.08, impact=0.3, thigh=0.4, arm=0.35, trunk=0.05,
        ends_in_fall=True,
    ),
}  # fmt: skip

PLACEMENTS = {
    "pocket": Placement(
        ("in the trouser pocket", "in the front pocket", "on the thigh"), "thigh", 0.9,
        {STANDING: (_TURN, 0.0, 0.0), SITTING: (0.2, 0.0, 0.0), LYING: (0.0, 0.0, 1.2)},
    ),
    "wrist": Placement(
        ("on the wrist", "worn like a watch", "at the wrist"), "arm", 0.7,
        {STANDING: (0.0, _TURN, 0.0), SITTING: (0.0, 0.3, 0.3), LYING: (0.3, 0.6, 0.0)},
    ),
    "belt": Placement(
        ("on the belt", "at the waist", "at the hip"), "trunk", 1.0,
        {STANDING: (-_TURN, 0.0, 0.0), SITTING: (-1.3, 0.0, 0.0), LYING: (-0.1, 0.0, 0.0)},
    ),
}  # fmt: skip
