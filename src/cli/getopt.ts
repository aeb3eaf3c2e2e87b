/**
 * Reads a command line as `getopt_long` does, for commands whose options are another program's: unique abbreviations,
 * `--name=value`, joined short values (`-t0x10`), clusters, options behind operands, `--`. A needed value is the next argument
 * whatever it looks like (`--default-mask -m` takes `-m` as the text).
 */
import { OtaError } from "../core/errors.ts";
import { printable } from "../core/text.ts";

export interface GetoptOption {
  /** Long name without dashes; absent for an option that has only a letter. */
  readonly long?: string;
  /** Letter; absent for an option that has only a long name. */
  readonly short?: string;
  readonly takesValue: boolean;
  /**
   * Not one of the original program's: matched by its full name first, and never makes an abbreviation of an original
   * option ambiguous.
   */
  readonly extra?: boolean;
}

export interface GetoptResult {
  /** Options in the order they were given; `name` is the long name, or the letter where there is none. */
  readonly options: readonly { readonly name: string; readonly value: string | undefined }[];
  readonly operands: readonly string[];
}

function usage(what: string, where: string, hint?: string): OtaError {
  return new OtaError("USAGE", { what, where: printable(where), ...(hint === undefined ? {} : { hint }) });
}

function findLong(table: readonly GetoptOption[], name: string): GetoptOption {
  const exact = table.find((o) => o.long === name);
  if (exact !== undefined) return exact;
  for (const extra of [false, true]) {
    const found = table.filter((o) => (o.extra ?? false) === extra && o.long?.startsWith(name) === true);
    if (found.length === 1) return found[0] as GetoptOption;
    if (found.length > 1) {
      const names = found.map((o) => `--${o.long ?? ""}`).join(", ");
      throw usage("the option is ambiguous", `--${name}`, `It can be ${names}.`);
    }
  }
  throw usage("unknown option", `--${name}`);
}

/** Reads `argv` (without the program's name) against `table`. @throws OtaError USAGE */
export function getopt(argv: readonly string[], table: readonly GetoptOption[]): GetoptResult {
  const options: { name: string; value: string | undefined }[] = [];
  const operands: string[] = [];
  let at = 0;
  const nextValue = (shown: string): string => {
    const value = argv[at];
    if (value === undefined) throw usage("the option needs a value", shown);
    at++;
    return value;
  };
  while (at < argv.length) {
    const argument = argv[at++] as string;
    if (argument === "--") {
      operands.push(...argv.slice(at));
      break;
    }
    if (argument.startsWith("--")) {
      const equals = argument.indexOf("=");
      const name = argument.slice(2, equals < 0 ? undefined : equals);
      const option = findLong(table, name);
      const long = option.long as string;
      if (!option.takesValue) {
        if (equals >= 0) throw usage("the option takes no value", `--${long}`);
        options.push({ name: long, value: undefined });
      } else {
        options.push({ name: long, value: equals >= 0 ? argument.slice(equals + 1) : nextValue(`--${long}`) });
      }
      continue;
    }
    if (!argument.startsWith("-") || argument === "-") {
      operands.push(argument);
      continue;
    }
    for (let i = 1; i < argument.length; i++) {
      const letter = argument.charAt(i);
      const option = table.find((o) => o.short === letter);
      if (option === undefined) throw usage("unknown option", `-${letter}`);
      const name = option.long ?? letter;
      if (!option.takesValue) {
        options.push({ name, value: undefined });
        continue;
      }
      const joined = argument.slice(i + 1);
      options.push({ name, value: joined !== "" ? joined : nextValue(`-${letter}`) });
      break;
    }
  }
  return { options, operands };
}
