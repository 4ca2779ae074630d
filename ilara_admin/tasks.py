"""Jobs of the foundation and of pages. Each only deletes what is due, takes over what is due, or
continues where it was, so it may be killed at any point and may run twice."""

from datetime import UTC, datetime
from typing import Any

from django.core.management import call_command
from procrastinate import JobContext
from procrastinate.contrib.django import app
from procrastinate.exceptions import JobAborted

from ilara_admin.accounts import mails
from ilara_admin.accounts.sessions import sessions_forget
from ilara_admin.accounts.throttle import attempts_forget
from ilara_admin.core import deliveries, key_warnings, notifications
from ilara_admin.core.jobs import EVENTS_QUEUE, RETRY, jobs_forget
from ilara_admin.runtime import job_manager
from players.exports import exports_forget


@app.periodic(cron="23 4 * * *")
@app.task(queueing_lock="ilara_admin.clear_sessions", retry=RETRY, pass_context=False)
def clear_sessions(timestamp: int, **_: Any) -> None:
    """Delete expired sessions and what is stored about them."""
    call_command("clearsessions")
    sessions_forget()


@app.periodic(cron="43 * * * *")
@app.task(queueing_lock="ilara_admin.forget_attempts", retry=RETRY, pass_context=False)
def forget_attempts(timestamp: int, **_: Any) -> None:
    """Delete the counts of attempts to sign in whose time is over."""
    attempts_forget()


@app.task(retry=RETRY, pass_context=False)
def send_resets(user_ids: list[int], site: str) -> None:
    """Send links to set a new password."""
    mails.send_resets(user_ids, site)


@app.task(retry=RETRY, pass_context=False)
def send_invite(invite_id: int, site: str) -> None:
    """Send the link of an invite."""
    mails.send_invite(invite_id, site)


@app.periodic(cron="* * * * * */10")
@app.task(queue=EVENTS_QUEUE, queueing_lock="ilara_admin.take_over", pass_context=True)
async def take_over(context: JobContext, /, timestamp: int, **_: Any) -> None:
    """Queue the jobs of dead workers again."""
    await job_manager.take_over(context.app.job_manager)


@app.periodic(cron="53 4 * * *")
@app.task(queueing_lock="ilara_admin.forget_jobs", retry=RETRY, pass_context=False)
def forget_jobs(timestamp: int, **_: Any) -> None:
    """Delete jobs that failed or were aborted long ago."""
    jobs_forget()


@app.task(retry=RETRY, pass_context=True)
def export_players(context: JobContext, export_id: int) -> None:
    """Write an export of the list of players."""
    from ilara_admin.pages.player_export_job import export_run  # it queues this task

    def check() -> None:
        if context.should_abort():
            raise JobAborted

    export_run(export_id, check)


@app.periodic(cron="29 * * * *")
@app.task(queueing_lock="ilara_admin.forget_exports", retry=RETRY, pass_context=False)
def forget_exports(timestamp: int, **_: Any) -> None:
    """Delete the exports of players that were made a day ago."""
    exports_forget()


@app.periodic(cron="* * * * *")
@app.task(queueing_lock="ilara_admin.notify_changes", retry=RETRY, pass_context=False)
def notify_changes(timestamp: int, **_: Any) -> None:
    """Make notifications of the changes in live."""
    from ilara_admin.pages.live_changes import live_changes_notify

    live_changes_notify()


@app.periodic(cron="* * * * *")
@app.task(queueing_lock="ilara_admin.deliver", pass_context=False)
def deliver(timestamp: int, **_: Any) -> None:
    """Send notifications by e-mail and to channels: so each gets at most one message a minute."""
    deliveries.deliver()


@app.periodic(cron="*/5 * * * *")
@app.task(queueing_lock="ilara_admin.warn_of_keys", pass_context=False)
def warn_of_keys(timestamp: int, **_: Any) -> None:
    """Make notifications of API keys that expire soon or are not used."""
    key_warnings.keys_warn(datetime.now(UTC))


@app.periodic(cron="41 4 * * *")
@app.task(queueing_lock="ilara_admin.forget_notifications", retry=RETRY, pass_context=False)
def forget_notifications(timestamp: int, **_: Any) -> None:
    """Delete old notifications."""
    notifications.notifications_forget(datetime.now(UTC))
