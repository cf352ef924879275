"""Made-up people of example.org. Nobody of this name works there, because there is no such place."""

from __future__ import annotations

from typing import Final

#: The domain everybody has an address in.
DOMAIN: Final = "example.org"

#: Accounts of the themed samples. Each password is there for its letters, not for its strength.
ACCOUNTS: Final[dict[str, str]] = {
    "anna": "Tulip-garden7",
    "boris": 'q"uo\\te 9',  # needs escapes in an IMAP quoted string
    "chiara@example.org": "Chi%3Ara/2",  # the user name is a whole address
    "dimitri": "мост-Brücke€",  # UTF-8
    "eva": "Eva.Eva.1987",
    "farid": "far-" + "0123456789-" * 12 + "id",  # long
    "greta": "g",  # one letter
    "hana": "{7+} lit eral",  # looks like a literal, has spaces
    "igor": "=+/base64like==",
    "proxyadmin": "Pr0xy_Key",  # may act for others (authzid)
}

#: Accounts of the made-up office. Some passwords are weak and one is used twice, as in any office.
OFFICE: Final[dict[str, str]] = {
    "nora": "Summer2024",
    "pavel": "welcome1",
    "quinn": "Bicycle-Lamp-88",
    "rosa": "rosa1990",
    "sven": "N0rdlicht!",
    "tara": "letmein",
    "umar": "Falcon.Tree.5",
    "vera": "Summer2024",
    "wim": "kaas&brood",
    "xenia": "Xen-44-ia",
    "yusuf": "Anatolia_61",
    "zora": "zorazora",
    "scanner": "Scan2Mail",
    "backup": "backup",
    "office": "Office-Shared-1",
    "adele": "Piano4hands",
    "bruno": "Orso.Bruno.3",
    "clara": "Clar1net",
    "dario": "Treno-Milano-9",
    "edith": "Sparrow22",
    "felix": "F3l!x-cat",
    "gina": "Gina%2024",
    "hugo": "hugo-the-boss",
    "ines": "In3s.Lisboa",
    "jana": "Vltava-river-1",
    "karl": "Karl#Karl#7",
    "luisa": "LuisaLuisa",
    "marek": "Wisla1234",
}

#: Tokens of OAuth: what the token endpoint of the laboratory takes for good says ``-good-``.
TOKENS: Final[dict[str, str]] = {
    "anna": "tok.anna-good-Zm9vYmFyYmF6cXV4",
    "eva": "tok.eva-good-c2FtcGxlLXRva2Vu",
}
EXPIRED_TOKEN: Final = "tok.anna-expired-0000"


def password(user: str) -> str:
    """The password of a made-up account."""
    return ACCOUNTS[user] if user in ACCOUNTS else OFFICE[user]


def message(number: int, to: str, *, body: str = "", sender: str = "post@example.test") -> str:
    """A short message, lines ended by CRLF. Every third one quotes mail commands, which a reader must not believe."""
    if not body:
        body = (
            "The lamps in the stair are mended.\nThe invoice is attached to the wall.\n"
            if number % 3
            else "Try it by hand:\n  USER decoy\nUSER decoy\nPASS decoy-in-a-body\na1 LOGIN decoy decoy-in-a-body\n"
            "AUTH PLAIN AGRlY295AGRlY295\n.\n+OK\n235 2.7.0 Authentication successful\n"
        )
    head = (
        f"From: <{sender}>\nTo: <{to}>\nSubject: Note number {number}\n"
        f"Date: Mon, 2 Mar 2026 09:0{number % 10}:00 +0000\nMessage-ID: <note-{number}@example.test>\n"
        "MIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n\n"
    )
    return (head + body).replace("\n", "\r\n")
