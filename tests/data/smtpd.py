"""A real SMTP server (aiosmtpd) on loopback: STARTTLS and a login are required before any mail.

smtpd.py CERT KEY USER PASSWORD FOLDER
Prints its port, then writes each message it accepts to FOLDER/N.eml until stdin ends.
"""

import asyncio
import pathlib
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult

cert, key, user, password, folder = sys.argv[1:]


class Keep:
    count = 0

    async def handle_DATA(self, server, session, envelope):
        Keep.count += 1
        text = b"".join(b"RCPT: %s\n" % to.encode() for to in envelope.rcpt_tos) + envelope.content
        part = pathlib.Path(folder, "%d.part" % Keep.count)
        part.write_bytes(text)
        part.rename(pathlib.Path(folder, "%d.eml" % Keep.count))
        return "250 kept"


def authenticate(server, session, envelope, mechanism, data):
    good = (data.login, data.password) == (user.encode(), password.encode())
    return AuthResult(success=good, handled=False)


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(cert, key)


def server():
    return SMTP(
        Keep(),
        hostname="localhost",
        tls_context=context,
        require_starttls=True,
        authenticator=authenticate,
        auth_required=True,
    )


async def main():
    loop = asyncio.get_running_loop()
    listening = await loop.create_server(server, "127.0.0.1", 0)
    print(listening.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


asyncio.run(main())
