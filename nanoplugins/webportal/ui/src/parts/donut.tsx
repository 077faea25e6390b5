// Use of something as a ring with its share in the middle, the numbers beside it in words.
import Box from "@cloudscape-design/components/box";
import { useTranslation } from "react-i18next";
import type { Usage } from "../api/types";
import { useFormat } from "../app/format";
import { share } from "../logic/format";

const RADIUS = 40;
const ROUND = 2 * Math.PI * RADIUS;
const HIGH = 90;
/** Below, the round ends of the line would show more than there is. */
const LEAST = 0.5;

function Donut({ label, percent, text }: { label: string; percent: number; text: string }) {
  const format = useFormat();
  const shown = format.percent(percent, 0);
  return (
    <div className="nano-donut">
      <svg viewBox="0 0 100 100" role="img" aria-label={`${label}: ${shown}`}>
        <circle className="track" cx="50" cy="50" r={RADIUS} />
        {percent >= LEAST && (
          <circle
            className={percent >= HIGH ? "value is-high" : "value"}
            cx="50"
            cy="50"
            r={RADIUS}
            strokeDasharray={`${(percent / 100) * ROUND} ${ROUND}`}
          />
        )}
        <text x="50" y="50">
          {shown}
        </text>
      </svg>
      <div>
        <Box variant="awsui-key-label">{label}</Box>
        <Box variant="small">{text}</Box>
      </div>
    </div>
  );
}

export function UsageDonuts({ usage }: { usage: Usage }) {
  const { t } = useTranslation();
  const format = useFormat();
  const pair = (used: number, total: number) => t("usedOf", { used: format.bytes(used), total: format.bytes(total) });
  return (
    <div className="nano-donuts">
      <Donut
        label={t("cpu")}
        percent={share(usage.cpu_percent, 100)}
        text={t("vcpusOnCores", { vcpus: usage.vcpus_allocated, cores: usage.cores })}
      />
      <Donut
        label={t("memory")}
        percent={share(usage.memory_used_bytes, usage.memory_bytes)}
        text={pair(usage.memory_used_bytes, usage.memory_bytes)}
      />
      <Donut
        label={t("disk")}
        percent={share(usage.disk_used_bytes, usage.disk_bytes)}
        text={pair(usage.disk_used_bytes, usage.disk_bytes)}
      />
    </div>
  );
}
