"""The players of the sample game, drawn from the churn model. No Django.

A player is a function of the seed, its number, the size of the game and the present moment: the
same four give the same player, whichever else are drawn. The churn model gives the active days; a
day holds sessions, a session holds attempts at levels and sometimes a purchase. The counters of a
player follow from when its sessions began and ended: see records.py.
"""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from math import ceil, exp, log
from random import Random
from typing import Any

from ilara_admin.demo.records import Sale, SamplePlayer, Session, Tracked
from players.churn_model.risk import PRIOR

HISTORY_DAYS = 120
EVENT_DAYS = 30
GROWTH = 1.1  # e ** 1.1: three times as many newcomers a day at the end as at the start
WON_BACK = 0.06  # of those who leave; the model knows no return, a game with updates does
FIRST_NUMBER = 10_001
LAST_LEVEL = 60

# Country: weight, language, hours ahead of UTC.
COUNTRIES = {
    "US": (26, "en", -6), "BR": (13, "pt", -3), "DE": (9, "de", 1), "IN": (9, "en", 5),
    "GB": (8, "en", 0), "JP": (7, "ja", 9), "FR": (6, "fr", 1), "MX": (5, "es", -6),
    "TR": (5, "tr", 3), "PL": (4, "pl", 1), "ES": (4, "es", 1), "KR": (4, "ko", 9),
}  # fmt: skip
# How likely a session begins in each hour of the player's own day: lunch, and above all evenings.
RHYTHM = (3, 2, 1, 1, 1, 2, 4, 6, 6, 5, 5, 6, 8, 8, 7, 6, 7, 9, 11, 13, 14, 13, 10, 6)
DEVICES = {
    "android": ("Pixel 8", "Galaxy S23", "Galaxy A54", "Redmi Note 12", "Moto G84"),
    "ios": ("iPhone 13", "iPhone 14", "iPhone 15 Pro", "iPad Air"),
    "windows": ("PC",),
}
VERSIONS = {"1.9.4": 1, "2.0.1": 2, "2.1.0": 3, "2.1.3": 6, "2.2.0": 8}
PRODUCTS = {
    "gems_small": "0.99", "starter_pack": "1.99", "gems_medium": "4.99", "season_pass": "9.99",
    "gems_large": "19.99", "hero_bundle": "49.99", "gems_chest": "99.99",
}  # fmt: skip
ITEMS = {
    "coin_bag": "currency", "health_potion": "consumable", "iron_sword": "weapon",
    "oak_shield": "armour", "lucky_charm": "trinket", "dragon_scale": "material",
}  # fmt: skip
FAILURES = ("out_of_moves", "out_of_time", "defeated", "quit")
ADJECTIVES = (
    "Brave", "Calm", "Clever", "Crimson", "Daring", "Frosty", "Gentle", "Golden", "Happy", "Lucky",
    "Misty", "Quick", "Silent", "Swift", "Wild",
)  # fmt: skip
ANIMALS = (
    "Badger", "Bear", "Crane", "Falcon", "Fox", "Hare", "Heron", "Lynx", "Otter", "Owl", "Panda",
    "Raven", "Seal", "Tiger", "Wolf",
)  # fmt: skip


def player_draw(number: int, size: int, now: datetime, seed: int) -> SamplePlayer:
    """Player `number` (0-based, in the order of arrival) of `size`, as of `now` (UTC)."""
    return _Life(Random(f"{seed}/{number}"), now).play(number, size)


class _Life:
    """One player while it is being drawn: its habits, and how far it has come."""

    def __init__(self, rng: Random, now: datetime) -> None:
        self.rng, self.now = rng, now
        self.rate = max(rng.gammavariate(PRIOR.r, 1 / PRIOR.alpha), 1e-3)
        self.dropout = rng.betavariate(PRIOR.a, PRIOR.b)
        self.country = rng.choices(list(COUNTRIES), [c[0] for c in COUNTRIES.values()])[0]
        self.platform = rng.choices(("android", "ios", "windows"), (58, 34, 8))[0]
        self.version = rng.choices(list(VERSIONS), list(VERSIONS.values()))[0]
        self.eagerness = rng.uniform(0.2, 0.6)  # the chance of one more session, one more level
        # Few ever pay, and of those a few pay most: the chance to buy in a session has a Pareto
        # tail, and those who buy often buy what is dear.
        self.spending = min(0.03 * rng.paretovariate(0.8), 0.6) if rng.random() < 0.08 else 0.0
        self.level, self.retries, self.coins = 1, 0, 200

    def play(self, number: int, size: int) -> SamplePlayer:
        self.player = player = self._introduce(number)
        moment = self._arrival(number, size)
        self._session(moment)
        while days := self._days_to_next():
            self._rest_of_day()
            moment = self._on_day(moment.date() + timedelta(days=days))
            if moment > self.now - timedelta(minutes=5):
                break
            if moment > player.sessions[-1].ended_at:
                self._session(moment)
        is_vip = sum(player.counted) >= 50
        player.attributes |= {"level": self.level, "coins": self.coins, "is_vip": is_vip}
        return player

    def _days_to_next(self) -> int:
        """After an active day: the days until the next one, or 0 for a player who has left."""
        if self.rng.random() >= self.dropout:
            # Days without play are those of a Poisson process seen through whole days.
            return min(ceil(self.rng.expovariate(self.rate)), HISTORY_DAYS + 1)
        if self.rng.random() < WON_BACK:
            return self.rng.randint(30, 75)
        return 0

    def _introduce(self, number: int) -> SamplePlayer:
        rng = self.rng
        adjective, animal = rng.choice(ADJECTIVES), rng.choice(ANIMALS)
        digits = rng.randrange(10, 100)
        email = f"{adjective}.{animal}{digits}@example.com".lower()
        return SamplePlayer(
            external_id=f"player_{FIRST_NUMBER + number}",
            device_id=f"dev_{rng.getrandbits(48):012x}",
            email=email if rng.random() < 0.4 else None,
            attributes={
                "username": f"{adjective}{animal}{digits}",
                "country": self.country,
                "language": COUNTRIES[self.country][1],
                "platform": self.platform,
                "device_model": rng.choice(DEVICES[self.platform]),
                "app_version": self.version,
                "sample": True,
            },
        )

    def _arrival(self, number: int, size: int) -> datetime:
        """Later numbers arrive later, and more and more of them a day."""
        share = (number + self.rng.random()) / size
        days = HISTORY_DAYS * log(1 + share * (exp(GROWTH) - 1)) / GROWTH
        arrival = self._on_day((self.now - timedelta(days=HISTORY_DAYS - days)).date())
        latest = self.now - timedelta(seconds=self.rng.uniform(600, 3 * 3600))
        return min(arrival, latest)

    def _on_day(self, day: date) -> datetime:
        """A moment of a UTC day, by the hours of the country."""
        local = self.rng.choices(range(24), RHYTHM)[0]
        hour = (local - COUNTRIES[self.country][2]) % 24
        seconds = hour * 3600 + self.rng.random() * 3600
        return datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(seconds=seconds)

    def _rest_of_day(self) -> None:
        """Further sessions soon after one another, each within the same UTC day."""
        day = self.player.sessions[-1].ended_at.date()
        while self.rng.random() < self.eagerness:
            ended_at = self.player.sessions[-1].ended_at
            start = ended_at + timedelta(seconds=self.rng.uniform(900, 5 * 3600))
            if start.date() != day or start > self.now - timedelta(minutes=5):
                return
            self._session(start)

    def _session(self, start: datetime) -> None:
        """Attempts at levels until the player has enough."""
        session_id = f"sess_{self.rng.getrandbits(64):016x}"
        moment = self._track(
            session_id, start, 0, "session_start",
            platform=self.platform, app_version=self.version, country=self.country,
        )  # fmt: skip
        while moment < self.now - timedelta(minutes=4):
            moment = self._attempt(session_id, moment)
            if self.rng.random() > 0.36 + self.eagerness / 2.5:
                break
        if self.spending and self.rng.random() < self.spending:
            moment = self._buy(session_id, moment)
        self.player.sessions.append(Session(session_id, start, moment + timedelta(seconds=5)))

    def _attempt(self, session_id: str, moment: datetime) -> datetime:
        rng, level = self.rng, self.level
        difficulty = "easy" if level < 10 else "normal" if level < 35 else "hard"
        moment = self._track(
            session_id, moment, rng.uniform(2, 9), "level_start",
            level=level, difficulty=difficulty, mode="story",
        )  # fmt: skip
        seconds = rng.randint(35, 130)
        if rng.random() < 0.35 + 0.55 * exp(-level / 25):
            stars = 1 + (rng.random() < 0.6) + (rng.random() < 0.3)
            self.level, self.retries = min(level + 1, LAST_LEVEL), 0
            self.coins += 10 * stars
            moment = self._track(
                session_id, moment, seconds, "level_complete",
                level=level, score=stars * 400 + rng.randrange(400), time=seconds, stars=stars,
            )  # fmt: skip
            if level % 10 == 0 and self.level > level:
                moment = self._track(
                    session_id, moment, 1, "achievement_unlock",
                    achievement_id=f"level_{level}", name=f"Finished level {level}",
                )  # fmt: skip
        else:
            self.retries += 1
            moment = self._track(
                session_id, moment, seconds, "level_fail",
                level=level, reason=rng.choice(FAILURES), retry_count=self.retries,
            )  # fmt: skip
        if rng.random() < 0.3:
            item_id, item_type = rng.choice(list(ITEMS.items()))
            moment = self._track(
                session_id, moment, 1, "item_collect",
                item_id=item_id, item_type=item_type, value=rng.randint(1, 50),
            )  # fmt: skip
        return moment

    def _buy(self, session_id: str, moment: datetime) -> datetime:
        products = list(PRODUCTS)
        reach = 3 + round(8 * self.spending)  # what is within the player's means
        product_id = products[min(int(self.rng.expovariate(2 / reach)), len(products) - 1)]
        amount = Decimal(PRODUCTS[product_id])
        moment = self._track(
            session_id, moment, self.rng.uniform(5, 20), "purchase",
            item_id=product_id, price=float(amount), first=not self.player.sales,
        )  # fmt: skip
        transaction_id = f"txn_{self.rng.getrandbits(64):016x}"
        verified = self.rng.random() < 0.9
        refund = moment + timedelta(hours=30)
        refunded_at = refund if not verified and refund < self.now else None
        self.player.sales.append(
            Sale(transaction_id, product_id, amount, verified, moment, refunded_at)
        )
        return moment

    def _track(
        self, session_id: str, moment: datetime, seconds: float, name: str, /, **properties: Any
    ) -> datetime:
        """The event happens `seconds` after `moment`; returns when."""
        moment += timedelta(seconds=seconds)
        if moment >= self.now - timedelta(days=EVENT_DAYS):
            event_id = f"evt_{self.rng.getrandbits(128):032x}"
            self.player.events.append(Tracked(event_id, name, session_id, properties, moment))
        return moment
