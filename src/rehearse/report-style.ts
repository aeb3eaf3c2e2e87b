/** Style of the report page: light, dark and paper; colours that differ in brightness, too, so that they survive a grey printer. */
export const REPORT_STYLE = `
:root{color-scheme:light dark;--ink:#1b1f24;--soft:#5b6570;--paper:#fff;--line:#d5dae0;--panel:#f5f7f9;
--new:#0f62fe;--resumed:#42be65;--old:#a8b0b8;--broken:#da1e28;--data:#6b7f95;--flush:#161616;--erase:#d2a106;--name:#8a3ffc;--good:#0e6027;--bad:#a2191f}
@media (prefers-color-scheme:dark){:root{--ink:#e8eaed;--soft:#a3adb8;--paper:#15181c;--line:#363c44;--panel:#1e2329;
--new:#4589ff;--resumed:#42be65;--old:#6f7880;--broken:#ff5a63;--data:#7f93a8;--flush:#f4f4f4;--erase:#f1c21b;--name:#be95ff;--good:#6fdc8c;--bad:#ff8389}}
*{box-sizing:border-box}
body{font:16px/1.5 system-ui,-apple-system,"Segoe UI",sans-serif;max-width:64rem;margin:0 auto;padding:2rem 1.25rem 3rem;color:var(--ink);background:var(--paper)}
h1{font-size:1.7rem;line-height:1.25;margin:.1rem 0 .8rem;overflow-wrap:anywhere}h2{font-size:1.15rem;margin:2.2rem 0 .5rem}
.kind{margin:0;color:var(--soft);font-size:.85rem;letter-spacing:.04em;text-transform:uppercase}
.verdict{margin:0;padding:.8rem 1rem;border-left:.35rem solid;background:var(--panel)}.verdict b{margin-right:.4rem}
.good{color:var(--good)}.bad{color:var(--bad)}
.figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(8.5rem,1fr));gap:.75rem;margin:1rem 0 0}
.figures div{padding:.6rem .8rem;border:1px solid var(--line)}.figures dd{margin:0;font-size:1.5rem;font-variant-numeric:tabular-nums}
.figures dt{color:var(--soft);font-size:.85rem}
.row{display:grid;grid-template-columns:12rem 1fr;gap:.75rem;align-items:center;margin:2px 0}
.row .label{text-align:right;font-size:.82rem;color:var(--soft);overflow:hidden;text-overflow:ellipsis;white-space:nowrap}
.row svg{display:block;width:100%;height:1.05rem;background:var(--panel);shape-rendering:crispEdges}
.axis div{display:flex;justify-content:space-between;font-size:.8rem;color:var(--soft);font-variant-numeric:tabular-nums}
.legend{display:flex;flex-wrap:wrap;gap:.3rem 1.1rem;margin:.5rem 0 1rem 12.75rem;font-size:.82rem;color:var(--soft)}
.legend span{display:inline-flex;align-items:center;gap:.4rem}.legend svg{width:.8rem;height:.8rem}
rect.new{fill:var(--new)}rect.resumed{fill:var(--resumed)}rect.old{fill:var(--old)}rect.broken{fill:var(--broken)}
rect.data{fill:var(--data)}rect.flush{fill:var(--flush)}rect.erase{fill:var(--erase)}rect.name{fill:var(--name)}
table{border-collapse:collapse;font-size:.92rem}th,td{padding:.3rem .9rem .3rem 0;border-bottom:1px solid var(--line);text-align:left;vertical-align:top;overflow-wrap:anywhere}
th{font-weight:normal;color:var(--soft)}thead th{overflow-wrap:normal}.counts td,.counts thead th:not(:first-child){text-align:right;font-variant-numeric:tabular-nums}
.counts tbody th{font-family:ui-monospace,monospace;font-size:.85rem;color:var(--ink)}
.scroll{overflow-x:auto}code,.near{font-family:ui-monospace,SFMono-Regular,Menlo,monospace;font-size:.88rem}
code{background:var(--panel);padding:.1rem .35rem;overflow-wrap:anywhere}.near li{color:var(--soft)}.near li.here{color:var(--bad);font-weight:bold}
.story li{margin:.25rem 0}footer{margin-top:2.5rem;border-top:1px solid var(--line);color:var(--soft);font-size:.85rem}
@media (max-width:40rem){.row{grid-template-columns:1fr;gap:0}.row .label{text-align:left}.legend{margin-left:0}}
@media print{:root{color-scheme:light;--ink:#000;--soft:#444;--paper:#fff;--line:#bbb;--panel:#f3f3f3;--new:#0f62fe;--resumed:#42be65;--old:#a8b0b8;--broken:#da1e28;
--data:#6b7f95;--flush:#161616;--erase:#d2a106;--name:#8a3ffc;--good:#0e6027;--bad:#a2191f}
body{max-width:none;padding:0;font-size:11pt}*{-webkit-print-color-adjust:exact;print-color-adjust:exact}.chart,.figures,.verdict,table{break-inside:avoid}h2{break-after:avoid}}
`;
