/** Launchers as whole processes, with the memory they took. */
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";

const REPORT = `data:text/javascript,${encodeURIComponent(
  'process.on("exit",()=>process.stderr.write("peak="+process.resourceUsage().maxRSS+"\\n"))',
)}`;

export interface WatchedRun {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
  /** Peak resident memory, MiB; what it started beside itself is not counted. */
  readonly peakMib: number;
}

/** Runs a program of bin/ in `cwd`. */
export function runWatched(name: string, argv: readonly string[], cwd: string): WatchedRun {
  const env = { ...process.env, NODE_OPTIONS: `--import=${REPORT}` };
  const program = fileURLToPath(new URL(`../../bin/${name}`, import.meta.url));
  const { status, stdout, stderr } = spawnSync(program, argv, { env, encoding: "utf8", cwd, maxBuffer: 2 ** 28 });
  return { status, stdout, stderr, peakMib: Number(/peak=(\d+)/.exec(stderr)?.[1]) / 1024 };
}
