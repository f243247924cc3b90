"""``make auth-device``: sign in to Twitch from a machine without a browser (RFC 8628), no client secret.

``python -m commands.auth_device``. Exit codes: 0 tokens were saved, 1 not, 2 a setting must be changed.
"""

import argparse
import asyncio
import io
import sys
import time

import segno
from loguru import logger

from commands.sign_in import (
    CONSOLE,
    check_and_store,
    ignore_signals,
    missing_settings,
    run_command,
    why,
)
from shared import log_setup
from shared.errors import EXIT_FAILED, SettingsError, TwitchIdRefused, TwitchIdUnavailable
from shared.settings import Settings
from shared.twitch_id import DeviceCode, Grant, TwitchId

PROGRAM = "auth-device"
AGAIN = "start `make auth-device` again"
SLOW_DOWN_SECONDS = 5.0
"""What every ``slow_down`` adds to the interval (RFC 8628, 3.5)."""
LONGEST_PAUSE_SECONDS = 60.0
# White on black whatever the terminal's own colours: not every camera reads a negative.
_COLOURS, _NO_COLOURS = "\x1b[97;40m", "\x1b[0m"


async def sign_in(settings: Settings) -> int:
    """Begin, wait until the user has allowed it somewhere else, and store the tokens; gives the exit code.

    Raises SettingsError when the client id is missing.
    """
    if missing_settings(settings, "TWITCH_CLIENT_ID"):
        raise SettingsError(
            f"TWITCH_CLIENT_ID is not set: register an application (client type Public) at {CONSOLE}, and "
            "put the client id that it shows into .env; no secret is needed"
        )
    async with TwitchId(settings.twitch_id_url, settings.twitch_client_id) as twitch:
        try:
            device = await twitch.begin_device(settings.twitch_scopes)
            log_setup.hide_secret(device.device_code)
            _show(device)
            grant = await wait_for_grant(twitch, device, settings.twitch_scopes)
            signed_in = await check_and_store(twitch, grant, settings)
        except TwitchIdRefused as error:
            logger.critical("{}", _advice(error))
            return EXIT_FAILED
        except TwitchIdUnavailable as error:
            logger.critical("{}; {} later", error, AGAIN)
            return EXIT_FAILED
        except OSError as error:
            file = settings.twitch_token_file.name
            logger.critical(
                "{} cannot be written ({}), NO tokens were saved: mend that, then {}", file, why(error), AGAIN
            )
            return EXIT_FAILED
        ignore_signals()
    print("Tokens saved successfully.")
    print(f"Signed in as {signed_in.login} with {signed_in.scopes}, see {signed_in.file_name}.", flush=True)
    for warning in signed_in.warnings:
        logger.warning("{}", warning)
    return 0


async def wait_for_grant(twitch: TwitchId, device: DeviceCode, scopes: str) -> Grant:
    """Ask as often as Twitch allows until the user has decided.

    Raises TwitchIdRefused when that was no, or the code's life is over. What is only trouble on the way is
    waited out, with growing pauses.
    """
    expires_at = time.monotonic() + device.life_seconds
    interval = pause = device.interval_seconds
    warned = False
    while time.monotonic() + pause < expires_at:
        await asyncio.sleep(pause)
        try:
            answer = await twitch.poll_device(device, scopes)
        except TwitchIdUnavailable as error:
            if not warned:
                logger.warning("{}; trying on until the code expires", error)
            warned = True
            # RFC 8628, 3.5 asks for that.
            pause = max(interval, min(2 * pause, LONGEST_PAUSE_SECONDS))
            continue
        if isinstance(answer, Grant):
            return answer
        if answer.slow_down:
            interval += SLOW_DOWN_SECONDS
        pause = interval
    await asyncio.sleep(max(0.0, expires_at - time.monotonic()))
    raise TwitchIdRefused(400, "expired_token")


def _advice(error: TwitchIdRefused) -> str:
    reason = error.message.lower().replace(" ", "_")
    if "denied" in reason:
        return f"the sign-in was not allowed at Twitch, nothing was changed; {AGAIN} if that was a mistake"
    # Twitch's own name of a code that is over, or that was used.
    if "expired" in reason or "invalid_device_code" in reason:
        return f"the code has expired; {AGAIN} and enter the new one"
    return (
        f"{error}; check TWITCH_CLIENT_ID and TWITCH_SCOPES, and that the client type at {CONSOLE} is "
        f"Public, then {AGAIN}"
    )


def _show(device: DeviceCode) -> None:
    minutes = max(1, round(device.life_seconds / 60))
    print("To sign in to Twitch open this address on any device:")
    print(f"\n    {device.verification_uri}\n")
    print(f"and enter this code there, which is good for {minutes} minutes:")
    print(f"\n    {device.user_code}\n")
    picture = _qr_code(device.verification_uri)
    if picture:
        print(picture)
    print("Waiting until you have allowed it; Ctrl-C gives up.", flush=True)


def _qr_code(text: str) -> str:
    """The QR code in blocks, for a dark terminal; empty where standard output has no such letters."""
    drawn = io.StringIO()
    segno.make_qr(text).terminal(drawn, compact=True)
    try:
        drawn.getvalue().encode(sys.stdout.encoding)
    except UnicodeEncodeError:
        return ""
    lines = drawn.getvalue().splitlines()
    if sys.stdout.isatty():
        lines = [f"{_COLOURS}{line}{_NO_COLOURS}" for line in lines]
    return "\n".join(lines)


def main() -> int:
    """Run the command; gives the exit code."""
    argparse.ArgumentParser(
        prog="python -m commands.auth_device",
        description="Sign in to Twitch on another device, which has a browser.",
    ).parse_args()
    if isinstance(sys.stdout, io.TextIOWrapper):
        # What Twitch sends may hold letters that the terminal lacks.
        sys.stdout.reconfigure(errors="backslashreplace")
    return run_command(PROGRAM, sign_in)


if __name__ == "__main__":
    sys.exit(main())
