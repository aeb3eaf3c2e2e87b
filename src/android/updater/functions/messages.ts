/** Functions that talk: texts, progress, properties, control. */
import { parseInteger, parseDouble, formatDouble, toInt32 } from "../numbers.ts";
import { EdifyAbort } from "../../edify/evaluate.ts";
import { fromLatin1, unicode } from "../../latin1.ts";
import { encodeText } from "../../../core/text.ts";
import { devicePath, failureText } from "../device-files.ts";
import type { UpdaterSession } from "../host.ts";
import { CAUSES } from "../host.ts";
import { countError, exactly, firstOf } from "./common.ts";
import type { FunctionTable } from "./common.ts";

/** Lines of a text as C's `strtok` gives them: empty ones are left out. */
export function tokens(text: string): string[] {
  return text.split("\n").filter((line) => line !== "");
}

/** 7.1's way to the screen: every line with a bare line behind it, and the text in the log. */
export function printToScreen(session: UpdaterSession, text: string): void {
  for (const line of tokens(text)) {
    session.host.pipe(`ui_print ${line}`);
    session.host.pipe("ui_print");
  }
  session.log(text);
}

/** Largest property file, bytes. */
const MAX_PROPERTY_FILE = 65536;

const BLANK_START = /^[ \t\n\v\f\r]+/;
const BLANK_END = /[ \t\n\v\f\r]+$/;

export function messageFunctions(session: UpdaterSession): FunctionTable {
  const { host, device } = session;
  const old = host.era === "4.4";

  const property = async (name: string): Promise<string> => {
    const value = await device.properties.get(unicode(name));
    return value === undefined ? "" : fromLatin1(encodeText(value));
  };

  return {
    async ui_print(call) {
      const text = (await call.strings()).join("");
      if (!old) {
        printToScreen(session, `${text}\n`);
        return `${text}\n`;
      }
      for (const line of tokens(text)) host.pipe(`ui_print ${line}`);
      host.pipe("ui_print");
      // strtok has put a NUL behind the first line.
      return /^\n*[^\n]+/.exec(text)?.[0] ?? text;
    },

    async show_progress(call) {
      const [fraction, seconds] = (await exactly(call, 2)) as [string, string];
      host.pipe(`progress ${formatDouble(parseDouble(fraction))} ${toInt32(parseInteger(seconds, 10).value)}`);
      return fraction;
    },

    async set_progress(call) {
      const [fraction] = (await exactly(call, 1)) as [string];
      host.pipe(`set_progress ${formatDouble(parseDouble(fraction))}`);
      return fraction;
    },

    async getprop(call) {
      const [name] = (await exactly(call, 1)) as [string];
      return property(name);
    },

    async file_getprop(call) {
      const [name, key] = (await firstOf(call, 2)) as [string, string];
      const path = devicePath(name);
      const stop = (text: string): never => {
        throw new EdifyAbort(`${call.name}: ${text}`, CAUSES.getProp);
      };
      let bytes: Uint8Array;
      try {
        const info = await device.files.stat(path);
        if (info === undefined) return stop(`failed to stat "${name}": No such file or directory`);
        if (info.size > MAX_PROPERTY_FILE) {
          throw new EdifyAbort(`${name} too large for ${call.name} (max ${MAX_PROPERTY_FILE})`, CAUSES.getProp);
        }
        const file = await device.files.open(path, "read");
        try {
          bytes = await file.read(0, file.size);
        } finally {
          await file.close();
        }
      } catch (e) {
        if (e instanceof EdifyAbort) throw e;
        return stop(`failed to open "${name}": ${failureText(e)}`);
      }
      const text = (fromLatin1(bytes).split("\0", 1) as [string])[0];
      for (const raw of tokens(text)) {
        const line = raw.replace(BLANK_START, "");
        if (line === "" || line.startsWith("#")) continue;
        const equal = line.indexOf("=");
        if (equal < 0) {
          if (!old) continue;
          stop(`malformed line "${line}": ${name} not a prop file?`);
        }
        if (line.slice(0, equal).replace(BLANK_END, "") !== key) continue;
        return line
          .slice(equal + 1)
          .replace(BLANK_START, "")
          .replace(BLANK_END, "");
      }
      return "";
    },

    async wipe_cache(call) {
      if (call.args.length !== 0) throw countError(call, "no args");
      host.pipe("wipe_cache");
      return "t";
    },

    ...(old
      ? {}
      : {
          async enable_reboot(call): Promise<string> {
            if (call.args.length !== 0) throw countError(call, "no args");
            host.pipe("enable_reboot");
            return "t";
          },
        }),

    async run_program(call) {
      if (call.args.length < 1) {
        throw new EdifyAbort(`${call.name}() expects at least 1 arg`, CAUSES.arguments);
      }
      const args = await call.strings();
      session.log(`about to run program [${args[0]}] with ${args.length} args\n`);
      const status = await runProgram(session, args);
      if (status !== 0) session.log(`run_program: child exited with status ${status}\n`);
      return String(status * 256);
    },

    ...(old
      ? {}
      : {
          async tune2fs(call): Promise<string> {
            if (call.args.length < 1) throw countError(call, "args");
            const args = await call.strings();
            const status = await runProgram(session, ["tune2fs", ...args]);
            if (status !== 0) {
              throw new EdifyAbort(`${call.name}() returned error code ${status}`, CAUSES.tune2fs);
            }
            return "t";
          },
        }),
  };
}

/**
 * Runs a program of the board with its arguments in the environment of a fixed script: no byte of them is read by a shell.
 * On devices that only note scripts this is 0.
 */
async function runProgram(session: UpdaterSession, args: readonly string[]): Promise<number> {
  const variables: Record<string, string> = {};
  args.forEach((arg, i) => {
    variables[`OTA_ARG${i}`] = unicode(arg);
  });
  const words = args.map((_, i) => `"$OTA_ARG${i}"`).join(" ");
  const text = encodeText(`command -v "$OTA_ARG0" >/dev/null 2>&1 || exit 1\nexec ${words}\n`);
  const result = await session.device.scripts.run({ name: `run_program ${variables["OTA_ARG0"]}`, text, variables });
  if (!result.ran) session.log(`run_program: noted, not run on this device\n`);
  return result.exitCode;
}
