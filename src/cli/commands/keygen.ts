/** `otaforge keygen NAME`. */
import { Option } from "commander";
import { open } from "node:fs/promises";
import { resolve } from "node:path";
import { OtaError } from "../../core/errors.ts";
import { generateKeys, readPublicKeys } from "../../trust/crypto.node.ts";
import type { PublicKey, SignatureAlgorithm } from "../../trust/index.ts";
import { newCommand, type Subcommand } from "../command.ts";
import { printReport, type SharedValues } from "../options.ts";

interface Values extends SharedValues {
  algorithm: SignatureAlgorithm;
}

async function writeNew(path: string, text: string, mode: number): Promise<void> {
  let file;
  try {
    file = await open(path, "wx", mode);
  } catch (e) {
    if ((e as NodeJS.ErrnoException).code !== "EEXIST") {
      throw new OtaError("DEVICE_IO", { what: "the key file cannot be written", where: path }, e);
    }
    throw new OtaError("DEVICE_EXISTS", {
      what: "a key is never overwritten",
      where: path,
      hint: "Choose another name, or move the old key away.",
    });
  }
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
}

export const keygenCommand: Subcommand = {
  async build(io, done) {
    return newCommand("keygen", io)
      .description(
        "Makes a key pair: NAME.pem (private, mode 0600: keep it) and NAME.pub.pem (public: goes onto devices).",
      )
      .argument("<name>", "file name without ending")
      .addOption(
        new Option("-a, --algorithm <name>", "kind of key")
          .choices(["ed25519", "ecdsa-p256", "rsa"])
          .default("ed25519"),
      )
      .option("--json", "print JSON on standard output and nothing else there")
      .action(async (name: string, values: Values) => {
        const { privatePem, publicPem } = generateKeys(values.algorithm);
        const privateFile = `${name}.pem`;
        const publicFile = `${name}.pub.pem`;
        await writeNew(resolve(io.cwd, privateFile), privatePem, 0o600);
        await writeNew(resolve(io.cwd, publicFile), publicPem, 0o644);
        const { id } = readPublicKeys(publicPem, publicFile)[0] as PublicKey;
        done(
          printReport(
            {
              text: `${privateFile}: private key, keep it secret\n${publicFile}: public key ${id.slice(0, 16)}…, for DEVICE.json and --key`,
              json: { privateFile, publicFile, id, algorithm: values.algorithm },
              exitCode: 0,
            },
            values,
            io,
          ),
        );
      });
  },
};
