"""``make auth``: the sign-in server, which has Twitch's tokens brought by the browser and writes them.

``python -m commands.auth [--keep]``. Exit codes: 0 tokens were saved, 1 not, 2 a setting must be changed.
"""

import argparse
import logging
import sys
from types import FrameType

import uvicorn
from loguru import logger

from commands import auth_pages
from commands.auth_address import BEGIN_PATH, RedirectAddress, listen, why_not
from commands.auth_app import NEEDED, SignInApp
from commands.sign_in import CONSOLE, ignore_signals, missing_settings, run_command, say_not_signed_in
from shared.errors import EXIT_FAILED
from shared.settings import Settings
from shared.twitch_id import TwitchId

PROGRAM = "auth"
STOP_SECONDS = 3
"""What an exchange that is under way at the stop may take."""


class _Server(uvicorn.Server):
    """Ends by itself; uvicorn's own raises the signal once more when it has ended."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal asks for an ordered end, the second waits for nothing."""
        self.force_exit = self.should_exit
        self.should_exit = True


async def serve(settings: Settings, keeps_on: bool) -> int:
    """Serve until tokens are saved (``keeps_on``: go on then), or a signal comes; gives the exit code.

    Raises SettingsError when TWITCH_REDIRECT_URI does not lead here.
    """
    address = RedirectAddress.parse(settings.twitch_redirect_uri)
    try:
        sockets = listen(address)
    except OSError as error:
        logger.critical("{}", why_not(address, error))
        return EXIT_FAILED

    def on_saved() -> None:
        server.should_exit = not keeps_on or server.should_exit

    async with TwitchId(
        settings.twitch_id_url, settings.twitch_client_id, settings.twitch_client_secret
    ) as twitch:
        app = SignInApp(
            settings=settings, address=address, twitch=twitch, keeps_on=keeps_on, on_saved=on_saved
        )
        server = _Server(_configuration(app))
        missing = missing_settings(settings, *NEEDED)
        if missing:
            logger.warning("{}", auth_pages.missing_line(missing))
        _announce(address)
        await server.serve(sockets=sockets)
        ignore_signals()
    if not app.saved:
        say_not_signed_in()
    return 0 if app.saved else EXIT_FAILED


def _configuration(app: SignInApp) -> uvicorn.Config:
    # The application catches and logs everything itself; what is left are uvicorn's words on its own end.
    logging.getLogger("uvicorn").setLevel(logging.CRITICAL)
    return uvicorn.Config(
        app,
        http="h11",
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        # It would show the code, which is in the address.
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=STOP_SECONDS,
    )


def _announce(address: RedirectAddress) -> None:
    print(f"Twitch auth server running on {address.origin}")
    print(f"Open {address.origin}{BEGIN_PATH} in a browser on this machine; Ctrl-C ends the server")
    print(f"At {CONSOLE} this redirect URI must be registered, to the letter: {address.uri}", flush=True)


def main() -> int:
    """Run the command; gives the exit code."""
    parser = argparse.ArgumentParser(prog="python -m commands.auth", description="Sign in to Twitch.")
    parser.add_argument("--keep", action="store_true", help="go on when tokens were saved")
    keeps_on: bool = parser.parse_args().keep
    return run_command(PROGRAM, lambda settings: serve(settings, keeps_on))


if __name__ == "__main__":
    sys.exit(main())
