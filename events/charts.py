"""Charts of event counts."""

from collections.abc import Mapping

from events.stats import Series
from ilara_admin.web.chart_axes import time_axis
from ilara_admin.web.charts import Chart, ChartSeries, bars


def counts_chart(counts: Series, label: str) -> Chart:
    return rates_chart({"Events": counts}, label)


def rates_chart(counts: Mapping[str, Series], label: str) -> Chart:
    """Stacked by name; the series have the same times."""
    columns = [ChartSeries(name, [count for _, count in series]) for name, series in counts.items()]
    axis = time_axis([start for start, _ in next(iter(counts.values()))])
    return bars(axis, columns, label=label, unit="event")
