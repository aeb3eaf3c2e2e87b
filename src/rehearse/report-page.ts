/** The report as one HTML page without scripts or outside files. */
import type { RehearsalReport } from "./run.ts";

function escape(text: string): string {
  return text.replace(/[&<>"]/g, (c) => ({ "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" })[c] as string);
}

const STYLE = `body{font:16px/1.5 system-ui,sans-serif;max-width:46rem;margin:2rem auto;padding:0 1rem;color:#1a1a1a;background:#fff}
h1{font-size:1.5rem}table{border-collapse:collapse;margin:1rem 0}td,th{padding:.3rem .8rem;border:1px solid #888;text-align:right}
th{text-align:left;font-weight:normal}.bar{display:flex;height:1.6rem;border:1px solid #888;margin:1rem 0}.bar span{display:block}
.good{color:#0a6b2d}.bad{color:#a40014}code{background:#eee;padding:.1rem .3rem}
@media (prefers-color-scheme:dark){body{color:#eee;background:#161616}code{background:#333}.good{color:#6fdc8c}.bad{color:#ff8389}}`;

/** The page; reproducible but for the time it took. */
export function reportPage(report: RehearsalReport): string {
  const { cuts, endedOld, endedNew, resumed, broken, firstBroken } = report;
  const parts: readonly (readonly [string, number, string])[] = [
    ["ended as the old system", endedOld, "#8a8a8a"],
    ["ended as the new system", endedNew, "#0a6b2d"],
    ["resumed to the new system", resumed, "#24a148"],
    ["broken", broken, "#da1e28"],
  ];
  const total = Math.max(1, endedOld + endedNew + resumed + broken);
  const bar = parts
    .filter(([, count]) => count > 0)
    .map(([name, count, colour]) => {
      const width = ((count / total) * 100).toFixed(2);
      return `<span style="width:${width}%;background:${colour}" title="${name}: ${count}"></span>`;
    })
    .join("");
  const rows: readonly (readonly [string, string])[] = [
    ["power cuts", String(cuts)],
    ["of them while an installation was repeated", String(report.repeatedCuts)],
    ["errors and full media tried", String(report.faults)],
    ["writes of one installation", String(report.writes)],
    ...parts.map(([name, count]) => [name, String(count)] as const),
    ["seed", String(report.seed)],
    ["seconds", report.seconds.toFixed(1)],
  ];
  const verdict =
    broken === 0
      ? `<p class="good">After every cut the device came back as the old or the new system.</p>`
      : `<p class="bad">${broken} times the device was neither the old nor the new system.</p>`;
  const first =
    firstBroken === undefined
      ? ""
      : `<h2>First broken</h2><p>At write ${firstBroken.index + 1} of ${firstBroken.count}: ${escape(firstBroken.write)}</p>
<p>${escape(firstBroken.reason)}</p><p>To see it again: <code>--seed ${firstBroken.seed} --only ${escape(firstBroken.cut)}</code></p>`;
  const table = rows.map(([name, value]) => `<tr><th scope="row">${name}</th><td>${value}</td></tr>`).join("\n");
  return `<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Power-cut rehearsal</title><style>${STYLE}</style></head><body>
<h1>Power-cut rehearsal</h1>
${verdict}
<div class="bar" role="img" aria-label="how the cuts ended">${bar}</div>
<table>${table}</table>
${first}
</body></html>
`;
}
