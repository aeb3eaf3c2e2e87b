/** The signers that `--key`, `--sign-command` and `--public-key` name. */
import { readFile } from "node:fs/promises";
import { resolve } from "node:path";
import type { Command } from "commander";
import { OtaError } from "../core/errors.ts";
import { commandSigner, readPublicKeys, readSigner } from "../trust/crypto.node.ts";
import type { PublicKey, Signer } from "../trust/index.ts";
import type { Io } from "./io.ts";

export interface SignerValues {
  key?: string[];
  signCommand?: string;
  publicKey?: string;
}

/** Adds the options. */
export function withSignerOptions(command: Command): Command {
  return command
    .option("-k, --key <file...>", "private keys (PEM)")
    .option("--sign-command <command>", "command that signs standard input and prints the raw signature")
    .option("--public-key <file>", "public key that belongs to --sign-command");
}

async function readText(io: Io, file: string): Promise<string> {
  try {
    return await readFile(resolve(io.cwd, file), "latin1");
  } catch (e) {
    throw new OtaError("DEVICE_NOT_FOUND", { what: "the key file cannot be read", where: file }, e);
  }
}

/** All signers that are named, at least one, none twice. @throws OtaError USAGE, TRUST_KEY, TRUST_SAMPLE_KEY, DEVICE_NOT_FOUND */
export async function signersOf(values: SignerValues, io: Io): Promise<Signer[]> {
  const signers: Signer[] = [];
  for (const file of values.key ?? []) signers.push(readSigner(await readText(io, file), file));
  if (values.signCommand !== undefined) {
    if (values.publicKey === undefined) {
      throw new OtaError("USAGE", {
        what: "--sign-command needs --public-key",
        hint: "The signature it makes is checked against that key.",
      });
    }
    const key = readPublicKeys(await readText(io, values.publicKey), values.publicKey)[0] as PublicKey;
    signers.push(commandSigner(values.signCommand, key));
  }
  if (signers.length === 0) {
    throw new OtaError("USAGE", {
      what: "no key to sign with",
      hint: "Give --key FILE (make one with: otaforge keygen NAME) or --sign-command.",
    });
  }
  const twice = signers.find((s, i) => signers.findIndex((o) => o.key.id === s.key.id) !== i);
  if (twice !== undefined)
    throw new OtaError("USAGE", { what: "the same key is given twice", where: twice.key.source });
  return signers;
}
