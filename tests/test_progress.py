"""Progress with a clock of its own: it never falls, it ends at 1, and the time left is near the truth."""

from __future__ import annotations

import pytest

from keysync.costs import Costs
from keysync.media.info import PictureFormat
from keysync.progress import (
    DRAWING,
    EVALUATIONS,
    FOLLOWING,
    FRAMES,
    OCCLUDERS,
    PHASES,
    SPEECH,
    SURVEY,
    Course,
    Moment,
    about,
    clock_time,
)
from keysync.systems.keysync.models import Models, load_models
from keysync.timeline import still

from .clips import Quiet

# What the table says of a unit, and how many there are.
TABLE = {
    FOLLOWING: (0.01, 500),
    OCCLUDERS: (0.03, 500),
    SURVEY: (0.01, 500),
    SPEECH: (2.0, 2),
    EVALUATIONS: (0.1, 300),
    FRAMES: (0.02, 500),
}


class Job:
    """A job whose units take `factors` times what the table says; its steps come in bursts."""

    def __init__(self, factors: dict[str, float]) -> None:
        self.now = 100.0
        self.factors = factors
        self.progress = Quiet()
        self.truth: list[float] = []  # when each moment was shown
        self.before_drawing = 0.0

    def run(self, burst: int = 10, known: bool = True) -> None:
        course = Course(self.progress, clock=lambda: self.now)
        for work, (each, total) in TABLE.items():
            course.expect(work, total if known or work != FOLLOWING else None, each)
        for phase, works in PHASES.items():
            course.begin(phase)
            self.truth.append(self.now)
            if phase == DRAWING:
                left = course.seconds_left
                assert left is not None
                self.before_drawing = left
            left_of = {work: TABLE[work][1] for work in works}
            while any(left_of.values()):
                for work in works:
                    count = min(burst, left_of[work])
                    if count:
                        self.now += count * TABLE[work][0] * self.factors.get(work, 1.0)
                        left_of[work] -= count
                        course.step(work, count)
                        self.truth.append(self.now)
        course.end()
        self.truth.append(self.now)

    @property
    def moments(self) -> list[Moment]:
        return self.progress.moments

    @property
    def shares(self) -> list[float]:
        return [moment.share for moment in self.moments]


FACTORS = [
    {},
    dict.fromkeys(TABLE, 7.0),
    dict.fromkeys(TABLE, 0.1),
    {EVALUATIONS: 20.0, FRAMES: 20.0},
    {EVALUATIONS: 0.02, FRAMES: 0.5},
    {FOLLOWING: 30.0},
    {FOLLOWING: 0.01, SURVEY: 5.0},
]


@pytest.mark.parametrize("factors", FACTORS)
@pytest.mark.parametrize("burst", [1, 10, 500])
@pytest.mark.parametrize("known", [True, False])
def test_it_never_falls_and_ends_at_one(factors: dict[str, float], burst: int, known: bool) -> None:
    job = Job(factors)
    job.run(burst, known)
    assert job.shares == sorted(job.shares)
    assert job.shares[0] == 0
    assert job.shares[-1] == 1
    assert max(job.shares[:-1]) < 1
    assert job.moments[-1].seconds_left == 0
    assert list(PHASES) == list(dict.fromkeys(moment.phase for moment in job.moments))


@pytest.mark.parametrize("factor", [0.2, 1.0, 5.0])
def test_on_a_machine_of_another_speed_it_is_true_from_the_second_phase_on(factor: float) -> None:
    job = Job(dict.fromkeys(TABLE, factor))
    job.run()
    began, ended = 100.0, job.now
    assert job.before_drawing == pytest.approx(factor * (0.1 * 300 + 0.02 * 500), rel=0.25)
    for moment, now in zip(job.moments, job.truth, strict=True):
        if moment.phase != FOLLOWING:
            assert moment.share == pytest.approx((now - began) / (ended - began), abs=0.1)


@pytest.mark.parametrize("factors", FACTORS)
def test_in_the_second_half_of_the_drawing_the_time_left_is_true(factors: dict[str, float]) -> None:
    job = Job(factors)
    job.run()
    drawing = [(moment, now) for moment, now in zip(job.moments, job.truth, strict=True) if moment.phase == DRAWING]
    for moment, now in drawing[len(drawing) // 2 : -10]:
        assert moment.seconds_left is not None
        assert (job.now - now) / 3 - 0.5 < moment.seconds_left < (job.now - now) * 3 + 0.5


def test_an_unknown_number_of_frames_has_no_time_left() -> None:
    job = Job({})
    job.run(known=False)
    following = [moment for moment in job.moments if moment.phase == FOLLOWING]
    assert {moment.seconds_left for moment in following} == {None}
    assert {moment.share for moment in following} == {0.0}
    assert following[-1].done == TABLE[FOLLOWING][1]


def test_a_phase_that_ends_early_is_left_behind() -> None:
    now, progress = [0.0], Quiet()
    course = Course(progress, clock=lambda: now[0])
    for work, (each, total) in TABLE.items():
        course.expect(work, total, each)
    course.begin(SURVEY)
    now[0] += 0.1
    course.step(SURVEY, 10)
    course.begin(DRAWING)
    assert course.seconds_left == pytest.approx(0.1 * 300 + 0.02 * 500)


def test_more_steps_than_expected() -> None:
    now, progress = [0.0], Quiet()
    course = Course(progress, {"one": ("one",)}, clock=lambda: now[0])
    course.expect("one", 3, 1.0)
    course.begin("one")
    for _ in range(6):
        now[0] += 1.0
        course.step("one")
    assert course.seconds_left == 0
    assert progress.moments[-1].share < 1
    course.end()
    assert progress.moments[-1].share == 1


@pytest.mark.parametrize(
    ("seconds", "words", "clock"),
    [
        (0.2, "about 1 s", "0:00"),
        (42.4, "about 42 s", "0:42"),
        (750, "about 12 min", "12:30"),
        (3723, "about 62 min", "1:02:03"),
        (10_000, "about 3 h", "2:46:40"),
    ],
)
def test_times_in_words(seconds: float, words: str, clock: str) -> None:
    assert (about(seconds), clock_time(seconds)) == (words, clock)


def test_costs_grow_with_pixels_and_models(models: Models) -> None:
    small = PictureFormat(320, 320, still(1).time_base, still(1).rate)
    large = PictureFormat(1920, 1080, still(1).time_base, still(1).rate)
    one, other = (Costs.of(picture, "cpu", "mediapipe") for picture in (small, large))
    assert one.follow < other.follow
    assert one.frame < other.frame
    assert Costs.of(small, "cpu", None).follow < one.follow < Costs.of(small, "cpu", "face-alignment").follow
    assert Costs.of(small, "cuda:0", "mediapipe").evaluation(models) < one.evaluation(models)
    assert one.evaluation(models) < one.evaluation(load_models())
    assert one.hearing(models, 5) == pytest.approx(5 * one.hearing(models, 1))
    assert one.hearing(models, 5) > 0
