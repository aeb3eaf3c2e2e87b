/**
 * What a script does, in plain sentences, without running it: what is checked, patched, deleted and written, in order.
 */
import { printable } from "../../core/text.ts";
import { unicode } from "../latin1.ts";
import { statements } from "./ast.ts";
import type { EdifyCall, EdifyNode, EdifyScript } from "./ast.ts";

/** What a step touches. `check` may stop the script, `write` changes the device, `tell` talks to the user. */
export type StepKind = "check" | "write" | "mount" | "tell" | "control" | "other";

export interface ExplainedStep {
  readonly kind: StepKind;
  /** A sentence; text from the script is made printable. */
  readonly text: string;
  /** Depth of the conditions around it, 0 outside. */
  readonly depth: number;
  /** Offset of the statement in the script, bytes. */
  readonly offset: number;
}

/** Nesting that is explained; deeper parts are shown as script text. */
const MAX_NESTING = 40;
const MAX_SHOWN = 160;
const MAX_LISTED = 6;

/** Script text, a byte string, as a reader sees it: UTF-8 where it is. */
const show = (text: string): string => {
  const plain = printable(unicode(text));
  return plain.length > MAX_SHOWN ? `${plain.slice(0, MAX_SHOWN)}…` : plain;
};

type Sentence = (a: readonly string[], call: EdifyCall) => { kind: StepKind; text: string };

const list = (items: readonly string[]): string => {
  const shown = items.slice(0, MAX_LISTED).join(", ");
  return items.length > MAX_LISTED ? `${shown} and ${items.length - MAX_LISTED} more` : shown;
};

/** A file or the partition of a `MTD:`/`EMMC:` name. */
function target(text: string): string {
  const match = /^(MTD|EMMC):([^:]*)(:|$)/.exec(text);
  return match === null ? text : `partition ${match[2]}`;
}

const PERMISSIONS: Sentence = (a) => {
  const pairs: string[] = [];
  for (let i = 1; i + 1 < a.length; i += 2) pairs.push(`${a[i]} ${a[i + 1]}`);
  return { kind: "write", text: `Set ${pairs.join(", ")} on ${a[0]}.` };
};

const SENTENCES: Readonly<Record<string, Sentence>> = {
  mount: (a) => ({
    kind: "mount",
    text: `Mount ${a[2]} (${[a[0], ...a.slice(4)].join(", ")}) at ${a[3]}.`,
  }),
  unmount: (a) => ({ kind: "mount", text: `Unmount ${a[0]}.` }),
  is_mounted: (a) => ({ kind: "check", text: `See whether ${a[0]} is mounted.` }),
  format: (a) => ({ kind: "write", text: `Format ${a[2]} as ${a[0]}; everything on it is lost.` }),
  wipe_block_device: (a) => ({ kind: "write", text: `Wipe ${a[1]} bytes of ${a[0]}.` }),
  show_progress: (a) => ({
    kind: "tell",
    text: `Give the next part ${a[0]} of the progress bar, over ${a[1]} seconds.`,
  }),
  set_progress: (a) => ({ kind: "tell", text: `Set the progress of this part to ${a[0]}.` }),
  ui_print: (a) => ({ kind: "tell", text: `Show the text "${a.join("")}".` }),
  delete: (a) => ({ kind: "write", text: `Delete ${list(a)}.` }),
  delete_recursive: (a) => ({ kind: "write", text: `Delete ${list(a)} with everything in them.` }),
  package_extract_dir: (a) => ({ kind: "write", text: `Write the package's folder ${a[0]} into ${a[1]}.` }),
  package_extract_file: (a) => ({ kind: "write", text: `Write the package's file ${a[0]} to ${a[1]}.` }),
  write_raw_image: (a) => ({ kind: "write", text: `Write ${a[0]} to partition ${a[1]}.` }),
  symlink: (a) => ({ kind: "write", text: `Make links to ${a[0]}: ${list(a.slice(1))}.` }),
  set_perm: (a) => ({ kind: "write", text: `Set owner ${a[0]}:${a[1]} and mode ${a[2]} on ${list(a.slice(3))}.` }),
  set_perm_recursive: (a) => ({
    kind: "write",
    text: `Set owner ${a[0]}:${a[1]}, mode ${a[2]} of folders and ${a[3]} of files below ${list(a.slice(4))}.`,
  }),
  set_metadata: PERMISSIONS,
  set_metadata_recursive: (a, call) => {
    const { kind, text } = PERMISSIONS(a, call);
    return { kind, text: `${text.slice(0, -1)} and everything below it.` };
  },
  apply_patch: (a) => ({
    kind: "write",
    text: `Patch ${target(a[0] ?? "")}${a[1] === "-" ? "" : ` into ${target(a[1] ?? "")}`} (${a[3]} bytes, SHA-1 ${a[2]}).`,
  }),
  apply_patch_check: (a) => ({
    kind: "check",
    text: `Check that ${target(a[0] ?? "")} has known contents${a.length > 1 ? ` (${a.length - 1} accepted)` : ""}.`,
  }),
  apply_patch_space: (a) => ({ kind: "check", text: `Check that /cache has or can get ${a[0]} free bytes.` }),
  sha1_check: (a) => ({ kind: "check", text: `Check the SHA-1 of ${a[0]}.` }),
  rename: (a) => ({ kind: "write", text: `Rename ${a[0]} to ${a[1]}.` }),
  run_program: (a) => ({ kind: "other", text: `Run the program ${a.join(" ")}.` }),
  wipe_cache: () => ({ kind: "write", text: "Ask recovery to wipe /cache after the update." }),
  reboot_now: (a) => ({
    kind: "control",
    text: `Restart at once${a[1] === "" || a[1] === undefined ? "" : ` into ${a[1]}`}.`,
  }),
  set_stage: (a) => ({ kind: "write", text: `Note the stage "${a[1]}" in ${a[0]}.` }),
  enable_reboot: () => ({ kind: "control", text: "Allow recovery to restart." }),
  tune2fs: (a) => ({ kind: "write", text: `Run tune2fs ${a.join(" ")}.` }),
  block_image_update: (a) => ({ kind: "write", text: `Rewrite the blocks of ${a[0]} by ${a[1]}.` }),
  block_image_verify: (a) => ({ kind: "check", text: `Check that ${a[0]} can be updated by ${a[1]}.` }),
  block_image_recover: (a) => ({ kind: "write", text: `Repair blocks of ${a[0]} from error correction data.` }),
  check_first_block: (a) => ({ kind: "check", text: `Look whether ${a[0]} was mounted writable.` }),
  write_value: (a) => ({ kind: "write", text: `Write "${a[0]}" into ${a[1]}.` }),
  sleep: (a) => ({ kind: "control", text: `Wait ${a[0]} seconds.` }),
  abort: (a) => ({ kind: "control", text: a.length === 0 ? "Stop." : `Stop with ${a[0]}.` }),
  stdout: (a) => ({ kind: "tell", text: `Write "${a.join("")}" to the log.` }),
};

class Explainer {
  readonly steps: ExplainedStep[] = [];
  readonly #source: string;

  constructor(source: string) {
    this.#source = source;
  }

  #text(node: EdifyNode): string {
    return show(this.#source.slice(node.start, node.end).replace(/\s+/g, " "));
  }

  /** An argument as a phrase: a literal's value, the name of a package file, or the script's own text. */
  #argument(node: EdifyNode): string {
    if (node.kind === "literal") return show(node.value);
    const inner = node.kind === "call" ? node.args[0] : undefined;
    if (node.kind === "call" && inner?.kind === "literal") {
      if (node.name === "package_extract_file") return `the package's file ${show(inner.value)}`;
      if (node.name === "read_file") {
        const name = target(inner.value);
        return name === inner.value ? `file ${show(name)}` : show(name);
      }
      if (node.name === "getprop") return `property ${show(inner.value)}`;
      if (node.name === "get_stage") return `the stage noted in ${show(inner.value)}`;
      const [, second] = node.args;
      if (node.name === "file_getprop" && second?.kind === "literal") {
        return `property ${show(second.value)} of ${show(inner.value)}`;
      }
      if (node.name === "range_sha1") return `the SHA-1 of some blocks of ${show(inner.value)}`;
    }
    return this.#text(node);
  }

  #call(call: EdifyCall): { kind: StepKind; text: string } {
    const args = call.args.map((a) => this.#argument(a));
    return SENTENCES[call.name]?.(args, call) ?? { kind: "other", text: `Call ${this.#text(call)}.` };
  }

  /** A condition as a phrase for "unless …" and "if …". */
  #condition(node: EdifyNode, depth = 0): string {
    if (node.kind === "literal") return `"${show(node.value)}"`;
    if (node.kind === "operator" && (node.op === "==" || node.op === "!=")) {
      const [left, right] = node.args.map((a) => this.#argument(a));
      return `${left} is ${node.op === "==" ? "" : "not "}${right}`;
    }
    if (node.kind === "operator" && (node.op === "||" || node.op === "&&") && depth < MAX_NESTING) {
      const [left, right] = node.args as [EdifyNode, EdifyNode];
      const word = node.op === "||" ? "or" : "and";
      return `${this.#condition(left, depth + 1)}, ${word} ${this.#condition(right, depth + 1)}`;
    }
    if (node.kind === "operator" && node.op === "!" && depth < MAX_NESTING) {
      return `not (${this.#condition(node.args[0] as EdifyNode, depth + 1)})`;
    }
    if (node.kind === "call") {
      const args = node.args.map((a) => this.#argument(a));
      if (node.name === "sha1_check") {
        return `${args[0]} has ${args.length > 2 ? "one of the SHA-1s" : "the SHA-1"} ${list(args.slice(1))}`;
      }
      if (node.name === "less_than_int") return `${args[0]} is less than ${args[1]}`;
      if (node.name === "greater_than_int") return `${args[0]} is greater than ${args[1]}`;
      if (node.name === "is_mounted") return `${args[0]} is mounted`;
      if (node.name === "block_image_recover") return `blocks of ${args[0]} can be repaired from error correction data`;
      if (node.name === "is_substring") return `${args[1]} contains ${args[0]}`;
      const { text } = this.#call(node);
      if (text.startsWith("Check that ")) return text.slice(11, -1);
    }
    return this.#text(node);
  }

  #push(node: EdifyNode, depth: number, step: { kind: StepKind; text: string }): void {
    this.steps.push({ ...step, depth, offset: node.start });
  }

  #choice(node: EdifyNode, branches: readonly (EdifyNode | undefined)[], depth: number): void {
    const [condition, yes, no] = branches;
    if (condition === undefined) return;
    this.#push(node, depth, { kind: "control", text: `If ${this.#condition(condition)}:` });
    if (yes !== undefined) this.explain(yes, depth + 1);
    if (no === undefined) return;
    this.#push(no, depth, { kind: "control", text: "Otherwise:" });
    this.explain(no, depth + 1);
  }

  #statement(node: EdifyNode, depth: number): void {
    if (depth > MAX_NESTING) {
      this.#push(node, depth, { kind: "other", text: `Deeply nested: ${this.#text(node)}.` });
      return;
    }
    if (node.kind === "literal") return;
    if (node.kind === "call") {
      if (node.name === "ifelse") this.#choice(node, node.args, depth);
      else if (node.name === "assert") {
        for (const a of node.args) this.#push(a, depth, { kind: "check", text: `Stop unless ${this.#condition(a)}.` });
      } else this.#push(node, depth, this.#call(node));
      return;
    }
    const [left, right] = node.args as [EdifyNode, EdifyNode];
    if (node.op === "if") {
      this.#choice(node, node.args, depth);
    } else if (node.op === "||" && right.kind === "call" && right.name === "abort") {
      const text = right.args[0];
      const said = text === undefined ? "" : this.#argument(text);
      const message = text === undefined ? "" : text.kind === "literal" ? ` with "${said}"` : ` with ${said}`;
      const alternatives = alternativesOf(left);
      const last = alternatives[alternatives.length - 1] as EdifyNode;
      if (last.kind === "call" && SENTENCES[last.name]?.([], last).kind === "write") {
        this.#push(node, depth, this.#call(last));
        this.#push(right, depth, { kind: "control", text: `If that fails: stop${message}.` });
      } else {
        const phrase = alternatives.map((a) => this.#condition(a)).join(", or ");
        this.#push(node, depth, { kind: "check", text: `Stop${message} unless ${phrase}.` });
      }
    } else if (node.op === "||") {
      this.#push(node, depth, { kind: "control", text: `Unless ${this.#condition(left)}:` });
      this.explain(right, depth + 1);
    } else if (node.op === "&&") {
      this.#choice(node, [left, right], depth);
    } else {
      this.#push(node, depth, { kind: "other", text: `Evaluate ${this.#text(node)}.` });
    }
  }

  explain(root: EdifyNode, depth: number): void {
    for (const node of statements(root)) this.#statement(node, depth);
  }
}

function alternativesOf(node: EdifyNode): EdifyNode[] {
  const out: EdifyNode[] = [];
  let rest = node;
  while (rest.kind === "operator" && rest.op === "||") {
    out.unshift(rest.args[1] as EdifyNode);
    rest = rest.args[0] as EdifyNode;
  }
  return [rest, ...out];
}

/** The steps of a parsed script in order. A script with errors has none. */
export function explainScript(script: EdifyScript): ExplainedStep[] {
  if (script.root === undefined) return [];
  const explainer = new Explainer(script.source);
  explainer.explain(script.root, 0);
  return explainer.steps;
}
