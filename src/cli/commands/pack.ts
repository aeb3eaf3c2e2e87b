/** `otaforge pack FAMILY …`: each family brings its own options. */
import { FAMILY_NAMES, loadFamily } from "../families.ts";
import { newCommand, type Subcommand } from "../command.ts";
import type { Io } from "../io.ts";

export const packCommand: Subcommand = {
  async build(io, done) {
    const command = newCommand("pack", io).description("Makes a package of one family.");
    for (const name of FAMILY_NAMES) {
      const family = await loadFamily(name);
      if (family.pack === undefined) continue;
      const sub = newCommand(name, io);
      family.pack(sub, io, done);
      command.addCommand(sub);
    }
    return command;
  },
};

/** `otaforge pack` alone, without a record of its own: what a rebuild runs. */
export async function packMain(argv: readonly string[], io: Io): Promise<number> {
  let exitCode = 0;
  const command = await packCommand.build(io, (code) => (exitCode = code));
  await command.parseAsync([...argv], { from: "user" });
  return exitCode;
}
