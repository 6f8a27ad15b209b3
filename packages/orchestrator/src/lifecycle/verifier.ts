import { decodeShape, parseDigest } from '@kallio/codec';
import { type AttesterSummary, attestersList, type Client, resultShow, SubjectState } from '@kallio/protocol';
import { type Static, Type } from 'typebox';

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
  async instancesOf(device: AttesterSummary): Promise<ReadonlyMap<string, Static<typeof SubjectState>>> {
    if (device.result === undefined || device.state === 'STALE' || device.state === 'UNKNOWN')
      return new Map();
    const params = { digest: parseDigest(device.result) };
    const { record } = await this.#client().call(resultShow, { params });
    const { instances } = decodeShape(ResultRecord, record, 'REPLY_INVALID', 'The result’s record');
    return new Map(Object.entries(instances));
  }
}

/** What is read of an appraisal record. */
const ResultRecord = Type.Object({ instances: Type.Record(Type.String(), SubjectState) });
