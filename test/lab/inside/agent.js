/**
 * Runs inside the laboratory's machine: does what the test asks on the serial line, one request a line, and answers with
 * `@ID JSON`. A request that is asked again (the test repeats it until it is answered) is not done again.
 */
import { spawn } from "node:child_process";
import { createReadStream, openSync, writeFileSync, writeSync } from "node:fs";
import { createInterface } from "node:readline";

const APP = "/app/dist/cli";
/** The vendor-named and our own commands: module and export of their main functions. */
const COMMANDS = {
  otaforge: ["otaforge.js", "otaforgeMain"],
  otaunpack: ["commands/otaunpack.js", "otaunpackMain"],
  test_ota: ["commands/test-ota.js", "testOtaMain"],
  updater: ["commands/updater.js", "updaterMain"],
  recovery: ["commands/recovery.js", "recoveryMain"],
};
/** Output that goes back at most, characters: the line is slow. */
const MOST = 6000;

const { runGuarded } = await import(`${APP}/run.js`);

async function loadCommand(name) {
  const [file, exported] = COMMANDS[name];
  return (await import(`${APP}/${file}`))[exported];
}

/** A command of ours in this process: what its launcher does, without starting Node once more. */
async function command(name, args) {
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
    signal: new AbortController().signal,
  };
  const code = await runGuarded(name, await loadCommand(name), args, io);
  return { code, out, err };
}

function shell(script) {
  return new Promise((resolve) => {
    const child = spawn("sh", ["-c", script], { stdio: ["ignore", "pipe", "pipe"] });
    let out = "";
    let err = "";
    child.stdout.on("data", (chunk) => (out += chunk.toString("latin1")));
    child.stderr.on("data", (chunk) => (err += chunk.toString("latin1")));
    child.on("error", (e) => resolve({ code: 127, out, err: `${err}${e.message}` }));
    child.on("close", (code, signal) => resolve({ code: code ?? 255, out, err: signal ? `${err}(${signal})` : err }));
  });
}

async function perform({ sh, name, args, module, call, argument, load }) {
  if (sh !== undefined) return shell(sh);
  if (name !== undefined) return command(name, args);
  if (load !== undefined) return { value: (await Promise.all(load.map(loadCommand))).length };
  return { value: await (await import(module))[call](argument) };
}

const line = openSync("/dev/ttyS0", "r+");
const answers = new Map();
let busyWith;

function say(id) {
  // In one write, between line ends of its own: messages of the kernel may come in between otherwise.
  writeSync(line, `\n@${id} ${answers.get(id)}\n`);
}

async function handle(request) {
  const { id } = request;
  if (answers.has(id)) return say(id);
  if (busyWith !== undefined) return;
  if (request.end === true) {
    writeFileSync("/tmp/ended", "");
    writeSync(line, `\n@${id} {}\n`);
    // An ordinary exit would wait for the thread that reads the line, and nothing more comes there.
    process.kill(process.pid, "SIGKILL");
  }
  busyWith = id;
  let answer;
  try {
    answer = await perform(request);
  } catch (e) {
    answer = { error: e instanceof Error ? (e.stack ?? e.message) : String(e) };
  }
  for (const key of ["out", "err"]) if (answer[key]?.length > MOST) answer[key] = answer[key].slice(-MOST);
  // ASCII only: the line knows bytes.
  const text = JSON.stringify(answer).replace(/[\u0080-\uffff]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`);
  answers.clear();
  answers.set(id, text);
  busyWith = undefined;
  say(id);
}

for await (const text of createInterface({ input: createReadStream("/dev/ttyS0") })) {
  let request;
  try {
    request = JSON.parse(text);
  } catch {
    continue; // half a line, from before the machine was restored
  }
  if (typeof request?.id === "number") void handle(request);
}
