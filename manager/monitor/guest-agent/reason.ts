/** Why nothing is known, in a bounded sentence: parts of it are what others said. */

/** It goes into the answers of the API and into events. */
const MAX_REASON_LENGTH = 200;

export function boundedReason(text: string): string {
  return text.length <= MAX_REASON_LENGTH ? text : `${text.slice(0, MAX_REASON_LENGTH)}...`;
}
