"""How the page looks: light and dark as the reader's system is, one column on a phone, nothing fetched from anywhere."""

# Colours of the series: told apart by people of every colour vision (after M. Okabe and K. Ito, "Color Universal Design",
# 2008), darkened for white ground and lightened for dark.
LIGHT = ("#0067b1", "#c15400", "#00805d", "#a8437f", "#7a6a00", "#3d8fbf", "#5b5b5b", "#8a2be2")
DARK = ("#56b4e9", "#ff9d4d", "#2fc9a0", "#e58fc4", "#e6d64a", "#9fd3f3", "#b5b5b5", "#c59bff")

_BASE = """
:root { color-scheme: light dark; --ground: #fff; --raised: #f5f6f8; --ink: #1b1f24; --soft: #57606a; --edge: #d8dde3;
  --bad: #b3261e; SERIES_LIGHT }
@media (prefers-color-scheme: dark) { :root { --ground: #14171b; --raised: #1d2126; --ink: #e8eaed; --soft: #a2abb5;
  --edge: #353b43; --bad: #ff8a80; SERIES_DARK } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.2rem 1rem 4rem; max-width: 72rem; background: var(--ground); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 0.4rem 0; overflow-wrap: anywhere; }
h2 { font-size: 1.3rem; margin: 2.6rem 0 0.4rem; border-top: 1px solid var(--edge); padding-top: 1.4rem; overflow-wrap: anywhere; }
h3 { font-size: 1.05rem; margin: 0 0 0.3rem; }
p { margin: 0.3rem 0 0.8rem; max-width: 46rem; overflow-wrap: anywhere; } .soft { color: var(--soft); font-size: 0.9rem; }
nav a { margin-right: 1rem; } a { color: var(--c0); }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 25rem), 1fr)); gap: 1rem; }
.three { grid-template-columns: repeat(auto-fill, minmax(min(100%, 20rem), 1fr)); }
.card { background: var(--raised); border: 1px solid var(--edge); border-radius: 0.6rem; padding: 0.9rem; min-width: 0; margin: 1rem 0 0; }
.grid .card { margin: 0; } .scroll { overflow-x: auto; } .scroll svg { min-width: 52rem; }
svg { display: block; width: 100%; height: auto; } svg text { font: 12.5px system-ui, "DejaVu Sans", sans-serif; fill: var(--ink); }
svg text.tick { fill: var(--soft); } svg text.end { text-anchor: end; } svg text.middle { text-anchor: middle; }
svg .grid { stroke: var(--edge); stroke-width: 1; } svg .axis { stroke: var(--soft); stroke-width: 1; }
svg .area { fill-opacity: 0.55; stroke-width: 1; } svg .line { fill: none; stroke-width: 1.6; } svg .strong { stroke-width: 3; }
svg .median { stroke: var(--ink); stroke-width: 1.6; } svg .p99 { stroke: var(--bad); stroke-width: 1.4; stroke-dasharray: 3 2; }
svg .deadline { stroke: var(--bad); stroke-width: 2; } svg .prepared { fill: var(--soft); fill-opacity: 0.5; }
svg .bar { stroke: none; } svg .cut { fill-opacity: 0.4; } svg .peer { fill: var(--soft); }
table { border-collapse: collapse; font-size: 0.9rem; width: 100%; } th, td { padding: 0.25rem 0.6rem; text-align: right; white-space: nowrap; }
th { color: var(--soft); font-weight: 600; border-bottom: 1px solid var(--edge); } th:first-child, td:first-child { text-align: left; }
table.settings td { text-align: left; white-space: normal; overflow-wrap: anywhere; vertical-align: top; }
table.settings td:first-child { white-space: nowrap; color: var(--soft); }
.key { display: flex; flex-wrap: wrap; gap: 0.2rem 1rem; font-size: 0.85rem; padding: 0.3rem 0 0; } .key i { display: inline-block; width: 0.8rem;
  height: 0.8rem; border-radius: 0.2rem; margin-right: 0.35rem; vertical-align: -0.05rem; }
.warn { border-left: 4px solid var(--bad); padding: 0.2rem 0.8rem; margin: 0.6rem 0; }
figure { margin: 0; } figure img { width: 100%; height: auto; display: block; border-radius: 0.3rem; } figcaption { font-size: 0.9rem; padding-top: 0.3rem; }
@media (max-width: 34rem) { .card { padding: 0.7rem; } table { font-size: 0.8rem; } th, td { padding: 0.2rem 0.25rem; } th { white-space: normal; } }
"""


def style() -> str:
    """The style sheet."""
    series = [" ".join(f"--c{k}: {color};" for k, color in enumerate(colors)) for colors in (LIGHT, DARK)]
    rules = "".join(
        f"svg .line.c{k} {{ stroke: var(--c{k}); }} svg .area.c{k} {{ fill: var(--c{k}); stroke: var(--c{k}); }}"
        f" svg .dot.c{k}, svg .bar.c{k} {{ fill: var(--c{k}); }} .key .c{k} {{ background: var(--c{k}); }}\n"
        for k in range(len(LIGHT))
    )
    return _BASE.replace("SERIES_LIGHT", series[0]).replace("SERIES_DARK", series[1]) + rules
