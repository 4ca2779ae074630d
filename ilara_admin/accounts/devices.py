"""The browser and the system of a device, from its User-Agent. Imports no Django."""

# The first that occurs counts: browsers name those that they resemble, too.
BROWSERS = (
    ("Edg", "Edge"),
    ("OPR/", "Opera"),
    ("SamsungBrowser/", "Samsung Internet"),
    ("Firefox/", "Firefox"),
    ("FxiOS/", "Firefox"),
    ("CriOS/", "Chrome"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
)
SYSTEMS = (
    ("iPhone", "iPhone"),
    ("iPad", "iPad"),
    ("Android", "Android"),
    ("CrOS", "ChromeOS"),
    ("Windows", "Windows"),
    ("Macintosh", "macOS"),
    ("Linux", "Linux"),
)


def device_name(user_agent: str) -> str:
    """Such as "Firefox on Windows"; for a program its name, such as "curl"."""
    browser, system = (
        next((name for token, name in names if token in user_agent), "")
        for names in (BROWSERS, SYSTEMS)
    )
    if browser and system:
        return f"{browser} on {system}"
    program = user_agent.partition("/")[0].strip()
    return browser or system or program[:40] or "Unknown device"
