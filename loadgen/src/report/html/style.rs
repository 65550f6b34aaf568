//! The style sheet of the page, for light and dark colour schemes.

/// The colours have enough contrast in both schemes, and the colours of the
/// lines also differ in lightness.
pub(super) const CSS: &str = "
:root{color-scheme:light dark;--ground:#fff;--ink:#1b1f24;--soft:#57606a;--rule:#d8dee4;--one:#0a58ca;--two:#b35900;--three:#8c959f;--stall:#d1242f;--good:#116329;--bad:#b42318}
@media (prefers-color-scheme:dark){:root{--ground:#0d1117;--ink:#e6edf3;--soft:#9aa4af;--rule:#30363d;--one:#6cb6ff;--two:#f0a04b;--three:#768390;--stall:#ff6b6b;--good:#57d364;--bad:#ff8182}}
body{margin:0;background:var(--ground);color:var(--ink);font:15px/1.5 system-ui,sans-serif}
main{max-width:960px;margin:0 auto;padding:24px 16px 64px}
h1{font-size:22px;margin:0 0 8px;overflow-wrap:anywhere}h2{font-size:17px;margin:32px 0 4px}
.note{margin:0 0 8px;color:var(--soft)}.good{color:var(--good)}.bad{color:var(--bad)}
dl{display:flex;flex-wrap:wrap;gap:8px 32px;margin:16px 0}dt{color:var(--soft);font-size:13px}dd{margin:0;font-size:19px;font-variant-numeric:tabular-nums}
.wide{overflow-x:auto}caption{text-align:left;color:var(--soft);font-size:13px}
table{border-collapse:collapse;margin:8px 0 16px;font-variant-numeric:tabular-nums}
th,td{padding:4px 14px 4px 0;text-align:right;border-bottom:1px solid var(--rule);white-space:nowrap;font-weight:400}th:first-child{text-align:left}thead th{color:var(--soft);font-size:13px}
a{color:var(--one)}a:focus-visible,summary:focus-visible,.wide:focus-visible{outline:2px solid var(--one);outline-offset:2px}
h3{font-size:15px;margin:20px 0 4px;overflow-wrap:anywhere}summary{cursor:pointer;padding:4px 0}
.share{display:block;width:100%;min-width:80px;height:10px;background:var(--rule)}.share i{display:block;height:10px;background:var(--stall)}
tbody th{max-width:340px;white-space:normal;overflow-wrap:anywhere;min-width:120px}
.name{fill:var(--ink)}.span{fill:var(--stall)}.dot.one{fill:var(--one)}
@media (max-width:760px){.wide>svg{width:760px}svg text{font-size:14px}}
svg{display:block;width:100%;height:auto;margin-bottom:8px}svg text{fill:var(--soft);font:12px system-ui,sans-serif}
.grid{stroke:var(--rule);stroke-width:1}.line{fill:none;stroke-width:1.8;stroke-linejoin:round}.dot{stroke:none}
.line.one{stroke:var(--one)}.line.two{stroke:var(--two)}.line.three{stroke:var(--three)}
text.one{fill:var(--one)}text.two{fill:var(--two)}text.three{fill:var(--three)}text.bad{fill:var(--bad)}
.level{stroke:var(--bad);stroke-width:1;stroke-dasharray:5 4}.stall{fill:var(--stall);fill-opacity:.28}
pre{overflow-x:auto;border:1px solid var(--rule);border-radius:6px;padding:12px;font:13px/1.45 ui-monospace,monospace}
";
