"""
Coroutines that run on their own.
"""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from lmrelay.tasks import Tasks


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
