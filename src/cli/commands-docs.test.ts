/** docs/commands.md is what the commands themselves print: it cannot say anything else. */
import type { Command } from "commander";
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";
import { applypatchMain } from "./commands/applypatch.ts";
import { imageOtaMain } from "./commands/image-ota.ts";
import { k230BootMain } from "./commands/k230-boot.ts";
import { kdimgMain } from "./commands/kdimg.ts";
import { otaFromTargetFilesMain } from "./commands/ota-from-target-files.ts";
import { otapackMain } from "./commands/otapack.ts";
import { otaunpackMain } from "./commands/otaunpack.ts";
import { recoveryMain } from "./commands/recovery.ts";
import { testOtaMain } from "./commands/test-ota.ts";
import { updaterMain } from "./commands/updater.ts";
import { captureIo } from "./io.ts";
import { buildProgram, SUBCOMMANDS } from "./otaforge.ts";
import { runGuarded, type CommandMain } from "./run.ts";

const FILE = fileURLToPath(new URL("../../docs/commands.md", import.meta.url));

const INTRODUCTION = `# Commands

Every command as it describes itself: this page is made from the help texts (\`npm test\` compares them, \`UPDATE_DOCS=1\` writes it).
Exit codes are one table for all commands; it stands in the [README](../README.md#exit-codes). What \`--vendor-compatible\` changes stands in
[profiles.md](profiles.md), \`DEVICE.json\` in [device.md](device.md).

- \`--json\` prints JSON on standard output and nothing else there; an error is \`{"error": {"code", "message", …}}\`.
- Progress is painted on a terminal and comes as plain lines in a pipe, on standard error; \`--progress json\` makes it JSON lines.
- Ctrl-C ends a command cleanly (exit 7); the same command run again finishes what was interrupted.
- \`otaforge completion bash|zsh|fish\` prints a completion script: \`eval "$(otaforge completion bash)"\`.
`;

/** Commands under the vendors' own names, with the arguments under which they describe themselves. */
const VENDOR_NAMED: readonly (readonly [string, CommandMain, ...(readonly string[][])])[] = [
  ["otapack", otapackMain, ["--help"]],
  ["otaunpack", otaunpackMain, ["--help"]],
  ["image-ota", imageOtaMain, ["--help"]],
  ["kdimg", kdimgMain, ["--help"], ["pack", "--help"], ["info", "--help"], ["extract", "--help"]],
  ["test_ota", testOtaMain, ["--help"]],
  ["k230-boot", k230BootMain, ["--help"]],
  ["ota_from_target_files", otaFromTargetFilesMain, ["--help"]],
  ["updater", updaterMain, ["--help"]],
  ["applypatch", applypatchMain, ["--help"]],
  ["recovery", recoveryMain, ["--help"]],
];

const section = (title: string, help: string): string => `## \`${title}\`\n\n\`\`\`text\n${help.trim()}\n\`\`\`\n`;

function* described(command: Command, name: string): Generator<string, void, void> {
  let text = "";
  command.configureOutput({ writeOut: (part) => (text += part) });
  command.outputHelp();
  yield section(name, text);
  for (const inner of command.commands) {
    if (inner.name() !== "help") yield* described(inner, `${name} ${inner.name()}`);
  }
}

async function page(): Promise<string> {
  const program = await buildProgram(captureIo(), new Set(Object.keys(SUBCOMMANDS)), () => undefined);
  const parts = [INTRODUCTION, ...described(program, "otaforge")];
  for (const [name, main, ...calls] of VENDOR_NAMED) {
    for (const argv of calls) {
      const io = captureIo();
      await runGuarded(name, main, argv, io);
      parts.push(section([name, ...argv.slice(0, -1)].join(" "), io.stdout()));
    }
  }
  return parts.join("\n");
}

it("docs/commands.md is made of the real help texts (UPDATE_DOCS=1 writes it)", async () => {
  const wanted = await page();
  if (process.env["UPDATE_DOCS"] === "1") writeFileSync(FILE, wanted);
  expect(readFileSync(FILE, "utf8")).toBe(wanted);
});
