/** A line of authorized_keys (sshd(8), "AUTHORIZED_KEYS FILE FORMAT"): options, the key's type, the key, a comment. */

/** Those of OpenSSH 9 (`ssh -Q key`) but for certificates, which stand in no such file, and DSA, which is refused by now. */
const KEY_TYPES = [
  "ssh-ed25519",
  "sk-ssh-ed25519@openssh.com",
  "ecdsa-sha2-nistp256",
  "ecdsa-sha2-nistp384",
  "ecdsa-sha2-nistp521",
  "sk-ecdsa-sha2-nistp256@openssh.com",
  "ssh-rsa",
];

/** Several times what the longest RSA key takes, with its options. Not measured. */
const MAX_LINE_LENGTH = 8 * 1024;

// C0 and C1 controls and DEL, but for the tab.
const CONTROL_CHARACTER = /[\u0000-\u0008\u000a-\u001f\u007f-\u009f]/;

/** Options have no spaces but in quotes, and `\"` is no quote. Each text is read in one way only, or it could take for ever. */
const UNQUOTED = String.raw`\\"|[^\s"\\]|\\(?!")`;
const QUOTED = String.raw`"(?:\\"|[^"\\]|\\(?!"))*"`;
const OPTIONS = `(?:${UNQUOTED}|${QUOTED})+`;
const TYPE = KEY_TYPES.map((type) => type.replaceAll(".", String.raw`\.`)).join("|");
const LINE = new RegExp(String.raw`^(?:${OPTIONS}[ \t]+)?(${TYPE})[ \t]+([A-Za-z0-9+/]+={0,2})(?:[ \t].*)?$`, "u");

/** Why it is no line of a key, or undefined when it is one. Never a part of it: somebody may have pasted the private key. */
export function keyLineProblem(line: string): string | undefined {
  if (CONTROL_CHARACTER.test(line)) return "it holds a control character, such as a newline; a key is one line";
  if (line.length > MAX_LINE_LENGTH) return `it is over ${MAX_LINE_LENGTH} characters`;
  const [, type, base64] = LINE.exec(line) ?? [];
  if (type === undefined || base64 === undefined)
    return `it has none of the types ${KEY_TYPES.join(", ")} before a key`;
  return typeInKey(base64) === type ? undefined : `what follows ${type} is no key of that type`;
}

/** The key begins with its type (RFC 4253, section 6.6), which a piece of one or another text does not. */
function typeInKey(base64: string): string | undefined {
  const key = Buffer.from(base64, "base64");
  if (key.length < 4) return undefined;
  return key.subarray(4, 4 + key.readUInt32BE(0)).toString("latin1");
}
