/**
 * Tokens of edify, formats/android.md section 4.1: longest match, the first rule on ties.
 *
 * The column counts as the original's does: it stands behind the token read last, and a character that begins no token
 * does not move it.
 */
import type { EdifyEra } from "./ast.ts";
import type { Terminal } from "./grammar.ts";

export interface Token {
  readonly type: Terminal;
  /** Value of a STRING. */
  readonly text: string;
  readonly start: number;
  readonly end: number;
}

/** Longest quoted string of 4.4, whose buffer has 8192 bytes and no check. */
export const MAX_STRING_44 = 8191;

const KEYWORDS = new Map<string, Terminal>([
  ["if", "IF"],
  ["then", "THEN"],
  ["else", "ELSE"],
  ["endif", "ENDIF"],
]);
const PAIRS = new Map<string, Terminal>([
  ["&&", "AND"],
  ["||", "OR"],
  ["==", "EQ"],
  ["!=", "NE"],
]);
const SINGLE = "+(),!;";
const WORD = /[a-zA-Z0-9_:/.]+/y;
const BLANKS = /[ \t]+/y;
const COMMENT_LINE = /#[^\n]*\n/y;
const ESCAPES: Readonly<Record<string, string>> = { n: "\n", t: "\t", '"': '"', "\\": "\\" };

export interface LexerOptions {
  readonly era: EdifyEra;
  /** An unfinished string silently ends the script, as in the original; otherwise it is an error. */
  readonly unfinishedStringEnds: boolean;
}

/** Reads one token after the other from a byte string. */
export class Lexer {
  readonly #source: string;
  readonly #options: LexerOptions;
  #at = 0;
  line = 1;
  column = 1;
  /** Why the last token was BAD, where there is more to say than that. */
  complaint: string | undefined;

  constructor(source: string, options: LexerOptions) {
    this.#source = source;
    this.#options = options;
  }

  #match(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.#at;
    return pattern.exec(this.#source)?.[0];
  }

  #take(type: Terminal, text: string): Token {
    const start = this.#at;
    this.#at += text.length;
    this.column += text.length;
    return { type, text, start, end: this.#at };
  }

  next(): Token {
    const source = this.#source;
    for (;;) {
      const c = source.charAt(this.#at);
      if (c === "") return { type: "end of file", text: "", start: this.#at, end: this.#at };
      if (c === "\n" || c === "#") {
        const line = c === "\n" ? c : this.#match(COMMENT_LINE);
        if (line === undefined) return this.#bad(undefined);
        this.#at += line.length;
        this.line++;
        this.column = 1;
        continue;
      }
      if (c === " " || c === "\t") {
        const blanks = this.#match(BLANKS) as string;
        this.#at += blanks.length;
        this.column += blanks.length;
        continue;
      }
      if (c === '"') return this.#string();
      const word = this.#match(WORD);
      if (word !== undefined) return this.#take(KEYWORDS.get(word) ?? "STRING", word);
      const two = source.slice(this.#at, this.#at + 2);
      const pair = PAIRS.get(two);
      if (pair !== undefined) return this.#take(pair, two);
      if (SINGLE.includes(c)) return this.#take(`'${c}'` as Terminal, c);
      return this.#bad(undefined);
    }
  }

  #bad(complaint: string | undefined): Token {
    this.complaint = complaint;
    const start = this.#at++;
    return { type: "BAD", text: "", start, end: this.#at };
  }

  #string(): Token {
    const source = this.#source;
    const start = this.#at;
    const parts: string[] = [];
    let size = 0;
    let at = start + 1;
    this.column++;
    for (;;) {
      const c = source.charAt(at);
      if (c === "") {
        this.#at = at;
        if (this.#options.unfinishedStringEnds) return { type: "end of file", text: "", start: at, end: at };
        this.complaint = "string without a closing quote";
        return { type: "BAD", text: "", start, end: at };
      }
      if (c === '"') break;
      let piece: string = c;
      let length = 1;
      if (c === "\n") {
        this.line++;
        this.column = 0;
      } else if (c === "\\") {
        const e = source.charAt(at + 1);
        const plain = ESCAPES[e];
        if (plain !== undefined && e !== "") {
          piece = plain;
          length = 2;
        } else if (e === "x" && /^[0-9a-fA-F]{2}$/.test(source.slice(at + 2, at + 4))) {
          piece = String.fromCharCode(Number.parseInt(source.slice(at + 2, at + 4), 16));
          length = 4;
        }
      }
      parts.push(piece);
      size++;
      at += length;
      this.column += length;
    }
    this.#at = at + 1;
    this.column++;
    if (this.#options.era === "4.4" && size > MAX_STRING_44) {
      this.complaint = `string of ${size} bytes, the interpreter of 4.4 has room for ${MAX_STRING_44}`;
      return { type: "BAD", text: "", start, end: this.#at };
    }
    // Values are C strings: a NUL ends them.
    const text = parts.join("");
    const nul = text.indexOf("\0");
    return { type: "STRING", text: nul < 0 ? text : text.slice(0, nul), start, end: this.#at };
  }
}
