/** Runs inside the laboratory's machine: our commands in this process. */

import { Buffer } from "node:buffer";

const APP = "/app/dist/cli";
/** The vendor-named and our own commands: module and export of their main functions. */
const COMMANDS = {
  otaforge: ["otaforge.js", "otaforgeMain"],
  otaunpack: ["commands/otaunpack.js", "otaunpackMain"],
  test_ota: ["commands/test-ota.js", "testOtaMain"],
  updater: ["commands/updater.js", "updaterMain"],
  recovery: ["commands/recovery.js", "recoveryMain"],
};
const { runGuarded } = await import(`${APP}/run.js`);

export async function loadCommand(name) {
  const [file, exported] = COMMANDS[name];
  return (await import(`${APP}/${file}`))[exported];
}

/** A command of ours in this process: what its launcher does, without starting Node once more. */
export async function command(name, args) {
  let out = "";
  let err = "";
  const text = (part) => (typeof part === "string" ? part : Buffer.from(part).toString("latin1"));
  const io = {
    out: (part) => void (out += text(part)),
    err: (part) => void (err += part),
    stdin: (async function* () {})(),
    errIsTerminal: false,
    columns: 80,
    env: process.env,
    cwd: "/",
    signal: new globalThis.AbortController().signal,
  };
  const code = await runGuarded(name, await loadCommand(name), args, io);
  return { code, out, err };
}
