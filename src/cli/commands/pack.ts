/** `otaforge pack FAMILY …`: each family brings its own options. */
import { FAMILY_NAMES, loadFamily } from "../families.ts";
import { newCommand, type Subcommand } from "../command.ts";

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
