"""
Coroutines that run on their own.
"""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from lmrelay.tasks import Tasks, carry_out


class TestTasks(SynchronousTestCase):
    def setUp(self) -> None:
        self.tasks = Tasks()
        self.said: list[object] = []

    async def say(self, *awaited: Deferred) -> None:
        for one in awaited:
            self.said.append(await one)

    def test_runs_at_once(self) -> None:
        """
        What need not wait has ended when it was started, and nobody waits for it.
        """
        self.tasks.run(self.say(succeed(1), succeed(2)))
        self.assertEqual([1, 2], self.said)
        self.assertNoResult(self.tasks.start(self.say(Deferred())))

    def test_goes_on_with_what_it_awaited(self) -> None:
        """
        It goes on when the result is there, with that result, and those who wait for all of them hear of the last.
        """
        first, second = Deferred(), Deferred()
        self.tasks.run(self.say(first, second))
        self.tasks.run(self.say(second))
        waiting = self.tasks.wait()
        first.callback("a")
        self.assertEqual(["a"], self.said)
        self.assertNoResult(waiting)
        second.callback("b")
        self.assertEqual("a", self.said[0])
        self.successResultOf(waiting)

    def test_tells_the_end(self) -> None:
        """
        Who started one is told when it is over, after it counts as under way no more.
        """
        awaited: Deferred[int] = Deferred()
        ended = self.tasks.start(self.say(awaited))
        self.assertNoResult(ended)
        ended.addCallback(lambda _: self.said.append(self.tasks.wait().called))
        awaited.callback(1)
        self.assertEqual([1, True], self.said)
        self.assertIsNone(self.successResultOf(self.tasks.start(self.say())))

    def test_failure_comes_as_an_exception(self) -> None:
        """
        A failure is raised where it was awaited; taken there, it is nobody else's.
        """

        async def take(awaited: Deferred[None]) -> None:
            try:
                await awaited
            except ValueError as error:
                self.said.append(str(error))

        later: Deferred[None] = Deferred()
        self.tasks.run(take(fail(ValueError("now"))))
        self.tasks.run(take(later))
        later.errback(ValueError("later"))
        self.assertEqual(["now", "later"], self.said)

    def test_fault_is_logged(self) -> None:
        """
        What one raises is logged and stops no other; its end is told as any.
        """
        awaited: Deferred[None] = Deferred()
        ended = self.tasks.start(self.say(awaited))
        awaited.errback(ValueError("broken"))
        self.assertIsNone(self.successResultOf(ended))
        self.tasks.run(self.say(fail(ValueError("broken too"))))
        self.assertEqual(2, len(self.flushLoggedErrors(ValueError)))
        self.successResultOf(self.tasks.wait())

    def test_fault_that_is_no_exception(self) -> None:
        """
        What is raised to end a program ends the one coroutine: the shutdown does not wait for it for ever.
        """

        async def leave(awaited: Deferred[None]) -> None:
            await awaited
            raise SystemExit

        awaited: Deferred[None] = Deferred()
        ended = self.tasks.start(leave(awaited))
        awaited.callback(None)
        self.assertEqual(1, len(self.flushLoggedErrors(SystemExit)))
        self.assertIsNone(self.successResultOf(ended))
        self.successResultOf(self.tasks.wait())

    def test_is_cancelled(self) -> None:
        """
        To cancel one cancels what it waits for; it may put its things in order.
        """

        async def tidy(awaited: Deferred[None]) -> None:
            try:
                await awaited
            except CancelledError:
                self.said.append("cancelled")

        ended = self.tasks.start(tidy(Deferred()))
        ended.cancel()
        self.assertEqual(["cancelled"], self.said)
        self.assertIsNone(self.successResultOf(ended))

    def test_takes_time_to_end(self) -> None:
        """
        Who cancels one that goes on all the same is told at once, and hears of no failure; the shutdown waits for its
        end.
        """

        async def linger(awaited: Deferred[None], rest: Deferred[None]) -> None:
            try:
                await awaited
            except CancelledError:
                await rest

        rest: Deferred[None] = Deferred()
        ended = self.tasks.start(linger(Deferred(), rest))
        ended.cancel()
        self.assertIsNone(self.successResultOf(ended))
        waited = self.tasks.wait()
        self.assertNoResult(waited)
        rest.callback(None)
        self.successResultOf(waited)
        self.assertIsNone(self.successResultOf(rest))


class TestCarryOut(SynchronousTestCase):
    def setUp(self) -> None:
        self.done: list[object] = []
        self.failed: list[Failure] = []

    def carry_out(self, *awaited: Deferred) -> None:
        async def gather() -> list[object]:
            return [await one for one in awaited]

        carry_out(gather(), self.done.append, self.failed.append)

    def test_tells_what_it_returned(self) -> None:
        """
        What need not wait is told of at once, what waits when the last that it awaited is there: once.
        """
        self.carry_out(succeed(1))
        self.assertEqual([[1]], self.done)
        first, second = Deferred(), Deferred()
        self.carry_out(first, second)
        first.callback(2)
        self.assertEqual([[1]], self.done)
        second.callback(3)
        self.assertEqual([[1], [2, 3]], self.done)
        self.assertEqual([], self.failed)

    def test_tells_what_it_raised(self) -> None:
        """
        A failure that it awaited, and did not deal with, is told as its own, and nobody else's any more.
        """
        awaited: Deferred[int] = Deferred()
        self.carry_out(awaited)
        awaited.errback(ValueError("no"))
        self.carry_out(fail(ValueError("nor this")))
        self.assertEqual(["no", "nor this"], [failure.getErrorMessage() for failure in self.failed])
        self.assertEqual([], self.done)
        self.assertEqual([], self.flushLoggedErrors())
