/**
 * Runs inside the laboratory's machine: does what the test asks on the serial line, one request a line, and answers with
 * `@ID JSON`. A request that is asked again (the test repeats it until it is answered) is not done again.
 */
import { spawn } from "node:child_process";
import { createReadStream, openSync, writeFileSync, writeSync } from "node:fs";
import { createInterface } from "node:readline";
import { command, loadCommand } from "./commands.mjs";

/** Output that goes back at most, characters: the line is slow. */
const MOST = 6000;

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
  const text = JSON.stringify(answer).replace(
    /[\u0080-\uffff]/g,
    (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
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
