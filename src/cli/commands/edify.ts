/** `otaforge edify`: evaluates expressions a line each, or checks and explains a script. */
import { Option } from "commander";
import { resolve } from "node:path";
import {
  explainScript,
  parseEdify,
  parseErrorLines,
  runExpression,
  UPDATER_FUNCTION_NAMES,
} from "../../android/index.ts";
import type { EdifyEra } from "../../android/index.ts";
import { fromLatin1, utf8 } from "../../android/latin1.ts";
import { concatBytes } from "../../core/bytes.ts";
import { OtaError } from "../../core/errors.ts";
import { openFileReader } from "../../device/index.ts";
import { newCommand, type Subcommand } from "../command.ts";
import type { Io } from "../io.ts";

/** Largest script read, bytes; the largest seen are a few megabytes. */
const MAX_SCRIPT = 64 * 1024 * 1024;

interface Values {
  era: EdifyEra;
  json?: boolean;
  vendorCompatible?: boolean;
}

async function readAll(name: string, io: Io): Promise<Uint8Array> {
  if (name === "-") {
    const parts: Uint8Array[] = [];
    for await (const part of io.stdin) parts.push(part);
    return concatBytes(...parts);
  }
  const reader = await openFileReader(resolve(io.cwd, name));
  try {
    if (reader.size > MAX_SCRIPT) {
      throw new OtaError("USAGE", { what: "no script is that large", where: name, found: reader.size });
    }
    return await reader.read(0, reader.size);
  } finally {
    await reader.close();
  }
}

/** Lines of standard input as they come, without their ends. */
async function* lines(io: Io): AsyncIterable<string> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const part of io.stdin) {
    const pieces = (rest + decoder.decode(part, { stream: true })).split("\n");
    rest = pieces.pop() as string;
    yield* pieces;
  }
  rest += decoder.decode();
  if (rest !== "") yield rest;
}

async function answerLines(values: Values, io: Io): Promise<void> {
  let number = 0;
  for await (const line of lines(io)) {
    number++;
    if (line.trim() === "") continue;
    let text: unknown;
    try {
      text = JSON.parse(line);
    } catch {
      text = undefined;
    }
    if (typeof text !== "string") {
      throw new OtaError("USAGE", { what: "no JSON string", where: `line ${number} of standard input` });
    }
    // Characters beyond U+00FF stand for their bytes in UTF-8.
    const source = !/[\u0100-\uffff]/.test(text) ? text : utf8(text);
    const outcome = await runExpression(source, {
      era: values.era,
      vendorCompatible: values.vendorCompatible ?? false,
    });
    io.out(`${JSON.stringify(outcome)}\n`);
  }
}

export const edifyCommand: Subcommand = {
  async build(io, done) {
    return newCommand("edify", io)
      .description(
        "Checks an updater-script and says in plain sentences what it does. With --json -: evaluates expressions, one JSON " +
          "string a line in, one result object a line out; texts are bytes, one character each.",
      )
      .argument("<script>", "script file, - for standard input")
      .addOption(
        new Option("--era <era>", "release whose interpreter to follow").choices(["4.4", "7.1"]).default("7.1"),
      )
      .option("--json", "evaluate expressions line by line (with -), or print the explanation as JSON")
      .option("--vendor-compatible", "end the script silently at an unfinished string, as the original does")
      .action(async (name: string, values: Values) => {
        if (values.json === true && name === "-") {
          await answerLines(values, io);
          return;
        }
        const known = UPDATER_FUNCTION_NAMES[values.era];
        const script = parseEdify(fromLatin1(await readAll(name, io)), {
          era: values.era,
          knows: (f) => known.has(f),
          vendorCompatible: values.vendorCompatible ?? false,
        });
        if (script.root === undefined) {
          if (values.json === true) io.out(`${JSON.stringify({ errors: script.errors })}\n`);
          io.err(`${parseErrorLines(script.errors).join("\n")}\n`);
          done(3);
          return;
        }
        const sentences = explainScript(script);
        if (values.json === true) io.out(`${JSON.stringify({ steps: sentences }, null, 2)}\n`);
        else io.out(sentences.map((s, i) => `${i + 1}. ${"   ".repeat(s.depth)}${s.text}\n`).join(""));
      });
  },
};
