/** Lines of text out of a stream of bytes, as they come. */
import { RemoteProtocolError } from "../../shared/protocol/errors.ts";

/** Without their ends; what follows the last one is dropped. Throws RemoteProtocolError when one has more than `maxBytes`. */
export async function* linesOf(pieces: AsyncIterable<Uint8Array>, maxBytes: number): AsyncGenerator<string> {
  let rest: Buffer[] = [];
  let restBytes = 0;
  for await (const piece of pieces) {
    let from = 0;
    for (let end = piece.indexOf(0x0a); end !== -1; end = piece.indexOf(0x0a, from)) {
      const line = Buffer.concat([...rest, piece.subarray(from, end)]);
      rest = [];
      restBytes = 0;
      from = end + 1;
      yield line.toString().replace(/\r$/, "");
    }
    rest.push(Buffer.from(piece.subarray(from)));
    restBytes += piece.length - from;
    if (restBytes > maxBytes) throw new RemoteProtocolError(`a line has more than ${maxBytes} bytes`);
  }
}
