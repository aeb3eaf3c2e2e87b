/** Completion scripts for bash, zsh and fish, made from the commands and options themselves. */
import type { Command } from "commander";

export const SHELLS = ["bash", "zsh", "fish"] as const;

interface Node {
  /** Words of the command behind the program's name: `[]`, `["pack"]`, `["pack", "sigmastar"]`. */
  readonly path: readonly string[];
  readonly words: readonly { word: string; help: string }[];
}

function nodes(command: Command, path: readonly string[] = []): Node[] {
  const words = [
    ...command.commands.map((c) => ({ word: c.name(), help: c.summary() || c.description() })),
    ...command.options.flatMap((o) => (o.long === undefined ? [] : [{ word: o.long, help: o.description }])),
  ];
  return [{ path, words }, ...command.commands.flatMap((c) => nodes(c, [...path, c.name()]))];
}

function quote(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/** The script of one shell. Completes commands and options; anything else is completed as a file name. */
export function completionScript(shell: (typeof SHELLS)[number], program: Command): string {
  const name = program.name();
  const all = nodes(program);
  if (shell === "fish") {
    return all
      .flatMap(({ path, words }) => {
        const when =
          path.length === 0
            ? "__fish_use_subcommand"
            : path.map((word) => `__fish_seen_subcommand_from ${word}`).join("; and ");
        return words.map(({ word, help }) => {
          const what = word.startsWith("--") ? `-l ${word.slice(2)}` : `-f -a ${word}`;
          return `complete -c ${name} -n ${quote(when)} ${what} -d ${quote(help)}\n`;
        });
      })
      .join("");
  }
  const cases = all
    .filter(({ path }) => path.length > 0)
    .map(({ path, words }) => `    ${quote(path.join(" "))}) words=${quote(words.map((w) => w.word).join(" "))} ;;\n`)
    .join("");
  const root = (all[0] as Node).words.map((w) => w.word).join(" ");
  const deepest = Math.max(...all.map(({ path }) => path.length));
  const body = `_${name}() {
  local cur=\${COMP_WORDS[COMP_CWORD]} path= words=${quote(root)} i next
  for ((i = 1; i < COMP_CWORD && i <= ${deepest}; i++)); do
    next="\${path:+$path }\${COMP_WORDS[i]}"
    case "$next" in
${cases.replaceAll(/^ {4}/gm, "      ")}      *) break ;;
    esac
    path=$next
  done
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
}
complete -o default -F _${name} ${name}
`;
  return shell === "bash" ? body : `autoload -U +X bashcompinit && bashcompinit\n${body}`;
}
