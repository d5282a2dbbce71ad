/**
 * The one error of this package. `code` is stable:
 *
 * - `unreachable`: no answer, or the host's CORS rule does not allow this page to read it
 * - `http_status`: the host answered with an error; `status` says which
 * - `no_ranges`: the host sends whole files instead of byte ranges
 * - `unverifiable`: the host sends nothing by which a changed file would be noticed
 * - `changed`: a file was replaced since it was opened
 * - `not_a_pyramid`: a file is none of Tilewright's
 * - `damaged`: a file is cut short, or the files do not belong together
 */
export class TilewrightError extends Error {
  constructor(code, message, { url, status, cause } = {}) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = "TilewrightError";
    this.code = code;
    this.url = url;
    this.status = status;
  }
}
