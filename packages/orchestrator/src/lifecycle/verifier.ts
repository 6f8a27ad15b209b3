import { parseDigest } from '@kallio/codec';
import {
  type AttesterSummary,
  attestersList,
  type Client,
  resultShow,
  type SubjectState,
} from '@kallio/protocol';

/** What the orchestrator asks the attestation server. It judges nothing itself: it is a relying party. */
export class Verifier {
  readonly #client: () => Client;

  constructor(client: () => Client) {
    this.#client = client;
  }

  /** Every device that is admitted. */
  async devices(): Promise<AttesterSummary[]> {
    const { attesters } = await this.#client().call(attestersList, {});
    return attesters.filter(({ kind, admission }) => kind === 'device' && admission === 'admitted');
  }

  /** What a device's result says of its instances, by their ids; a device that is STALE vouches for none. */
  async instancesOf(device: AttesterSummary): Promise<ReadonlyMap<string, SubjectState>> {
    if (device.result === undefined || device.state === 'STALE' || device.state === 'UNKNOWN')
      return new Map();
    const params = { digest: parseDigest(device.result) };
    const { record } = await this.#client().call(resultShow, { params, query: {} });
    return new Map(Object.entries(record.instances));
  }
}
