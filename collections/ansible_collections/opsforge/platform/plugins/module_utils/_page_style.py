# SPDX-License-Identifier: GPL-3.0-or-later
"""How a report looks: in the light and in the dark, on a wall and on a phone."""

from __future__ import annotations

STYLE = """
:root {
  color-scheme: light dark;
  --page: #f6f7f9; --card: #ffffff; --ink: #1d2430; --dim: #566070; --grid: #d5dae1; --link: #0b57d0;
  --warning: #9a6200; --critical: #c4162a; --fine: #16713a; --marker: #7a5af5;
  --s0: #1f6fd6; --s1: #c2410c; --s2: #15803d; --s3: #9333ea; --s4: #be123c; --s5: #0e7490;
  --s6: #a16207; --s7: #db2777; --s8: #4d7c0f; --s9: #4338ca; --s10: #57534e; --s11: #7c2d12;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #12151b; --card: #1b2028; --ink: #e7eaf0; --dim: #a7b0bd; --grid: #3a424e; --link: #8ab4f8;
    --warning: #f5b942; --critical: #ff7b86; --fine: #6dd58c; --marker: #b5a3ff;
    --s0: #6ea8fe; --s1: #fb923c; --s2: #4ade80; --s3: #c084fc; --s4: #fb7185; --s5: #22d3ee;
    --s6: #facc15; --s7: #f472b6; --s8: #a3e635; --s9: #8b93ff; --s10: #d6d3d1; --s11: #d6a37c;
  }
}
* { box-sizing: border-box; }
html { scroll-behavior: smooth; }
@media (prefers-reduced-motion: reduce) { html { scroll-behavior: auto; } }
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.45 system-ui, sans-serif; }
header, main { max-width: 1640px; margin: 0 auto; padding: 0 clamp(12px, 2.5vw, 32px); }
header { padding-top: 20px; }
h1 { font-size: 1.6rem; margin: 0 0 4px; }
h2 { font-size: 1.3rem; margin: 0 0 4px; }
h3 { font-size: 1rem; margin: 22px 0 8px; color: var(--dim); }
h4 { font-size: .95rem; margin: 0; }
p { margin: 0 0 6px; }
a { color: var(--link); }
section { padding: 26px 0 6px; border-top: 1px solid var(--grid); margin-top: 26px; scroll-margin-top: 8px; }
nav ul { list-style: none; display: flex; flex-wrap: wrap; gap: 6px; padding: 0; margin: 12px 0 0; }
nav a {
  display: block; padding: 5px 11px; border: 1px solid var(--grid); border-radius: 999px;
  background: var(--card); text-decoration: none;
}
nav a:hover, nav a:focus-visible { border-color: currentColor; }
.grid { display: grid; gap: 12px; margin-bottom: 12px; }
.plots { grid-template-columns: repeat(auto-fill, minmax(min(100%, 400px), 1fr)); }
.stats { grid-template-columns: repeat(auto-fit, minmax(min(100%, 200px), 1fr)); }
figure {
  margin: 0; padding: 12px 14px 10px; background: var(--card); border: 1px solid var(--grid); border-radius: 10px;
  min-width: 0; display: flex; flex-direction: column; gap: 6px;
}
figcaption p { color: var(--dim); font-size: .85rem; margin: 2px 0 0; }
.limits span { margin-right: 10px; font-weight: 400; white-space: nowrap; }
svg { display: block; width: 100%; height: auto; font: 10.5px system-ui, sans-serif; stroke-linejoin: round; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .88rem; }
th, td { text-align: left; padding: 4px 10px 4px 0; vertical-align: top; }
th { color: var(--dim); font-weight: 600; border-bottom: 1px solid var(--grid); white-space: nowrap; }
td { border-bottom: 1px solid color-mix(in srgb, var(--grid) 55%, transparent); font-variant-numeric: tabular-nums; }
tbody tr:last-child td { border-bottom: 0; }
.legend { font-size: .8rem; }
.legend th, .legend td { border: 0; padding: 1px 0 1px 10px; text-align: right; white-space: nowrap; }
.legend th:first-child, .legend td:first-child {
  text-align: left; padding-left: 0; width: 100%; white-space: normal; overflow-wrap: anywhere;
}
.swatch {
  display: inline-block; width: 14px; border-top: 3px solid var(--c); margin-right: 7px; vertical-align: middle;
}
.swatch.dashed { border-top-style: dashed; }
.number { font-size: 1.65rem; font-weight: 650; line-height: 1.15; font-variant-numeric: tabular-nums; }
.stats p { margin: 0; }
.dim { color: var(--dim); font-size: .85rem; }
.bad { color: var(--critical); font-weight: 600; }
.warn { color: var(--warning); font-weight: 600; }
.fine { color: var(--fine); }
.slot { padding: 0 8px; border-radius: 999px; border: 1px solid currentColor; }
.slot.blue { color: var(--s0); }
.slot.green { color: var(--s2); }
.note, .error { border-left: 3px solid var(--warning); padding: 2px 10px; overflow-wrap: anywhere; }
.error { border-color: var(--critical); }
.nothing { color: var(--dim); padding: 14px 0; }
.log code { white-space: pre-wrap; overflow-wrap: anywhere; font-size: .8rem; }
.log td:first-child { white-space: nowrap; }
details { margin-top: auto; font-size: .8rem; color: var(--dim); }
summary { cursor: pointer; }
pre { white-space: pre-wrap; overflow-wrap: anywhere; margin: 4px 0 0; font-size: .78rem; }
@media print { nav, details { display: none; } figure, tr { break-inside: avoid; } body { background: none; } }
"""
