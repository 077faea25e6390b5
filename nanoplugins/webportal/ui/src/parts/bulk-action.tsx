// One action on many instances: what will happen before, a result per item after, and another try for what failed.
import Alert from "@cloudscape-design/components/alert";
import Box from "@cloudscape-design/components/box";
import Button from "@cloudscape-design/components/button";
import FormField from "@cloudscape-design/components/form-field";
import Input from "@cloudscape-design/components/input";
import Modal from "@cloudscape-design/components/modal";
import SpaceBetween from "@cloudscape-design/components/space-between";
import StatusIndicator from "@cloudscape-design/components/status-indicator";
import { useRef, useState } from "react";
import { useTranslation } from "react-i18next";
import { asProblem, type Problem } from "../api/problem";
import type { Instance, InstanceAction } from "../api/types";
import { problemOf, waitFor } from "../app/flashes";
import { useFormat } from "../app/format";
import { judge, runEach } from "../logic/bulk";
import { useFocusInDialog } from "./focus";
import { askFor } from "./instance-request";
import { ProblemText } from "./problem";

type Outcome = "waiting" | "done" | Problem;
const WIDTH = 8;

interface BulkActionProps {
  action: InstanceAction;
  selection: Instance[];
  onClose(hasChanged: boolean): void;
}

export function BulkAction({ action, selection, onClose }: BulkActionProps) {
  const { t } = useTranslation(["instances", "common"]);
  // The selection as it was when the dialog opened: its states change while it works.
  const [judgement] = useState(() => judge(selection, action));
  const [outcomes, setOutcomes] = useState<ReadonlyMap<string, Outcome>>(new Map());
  const [typed, setTyped] = useState("");
  const word = mustType(judgement.possible, action);
  const hasBegun = outcomes.size > 0;
  const isBusy = [...outcomes.values()].includes("waiting");
  const failed = judgement.possible.filter((instance) => typeof outcomes.get(instance.id) === "object");
  const run = async (instances: Instance[]) => {
    const tell = (id: string, outcome: Outcome) => setOutcomes((before) => new Map(before).set(id, outcome));
    instances.forEach((instance) => tell(instance.id, "waiting"));
    await runEach(instances, WIDTH, async (instance) => {
      try {
        const problem = problemOf(await waitFor(await askFor(instance.id, action)));
        tell(instance.id, problem ?? "done");
      } catch (error) {
        tell(instance.id, asProblem(error));
      }
    });
  };
  return (
    <Modal
      visible
      size="medium"
      header={t(`bulk.title`, { action: t(`actions.${action}`), count: judgement.possible.length })}
      closeAriaLabel={t("common:close")}
      onDismiss={() => onClose(hasBegun)}
      footer={
        <Footer
          isDone={hasBegun && !isBusy}
          isBusy={isBusy}
          label={t(`actions.${action}`)}
          isDisabled={judgement.possible.length === 0 || (word !== null && typed !== word)}
          failed={failed.length}
          onClose={() => onClose(hasBegun)}
          onRun={() => void run(hasBegun ? failed : judgement.possible)}
        />
      }
    >
      <SpaceBetween size="m">
        {!hasBegun && <Forecast action={action} {...judgement} />}
        {!hasBegun && action === "delete" && <DisksThatGo instances={judgement.possible} />}
        {!hasBegun && word !== null && (
          <FormField label={t("common:typeName", { name: word })}>
            <Input value={typed} onChange={({ detail }) => setTyped(detail.value)} autoComplete={false} />
          </FormField>
        )}
        {hasBegun && <Results instances={judgement.possible} outcomes={outcomes} />}
      </SpaceBetween>
    </Modal>
  );
}

/** Deleting what runs or is protected wants a name; of several, their number. */
function mustType(instances: Instance[], action: InstanceAction): string | null {
  if (action !== "delete") return null;
  if (!instances.some((instance) => instance.protected || instance.state.observed === "running")) return null;
  return instances.length === 1 ? (instances[0]?.name ?? null) : String(instances.length);
}

interface FooterProps {
  isDone: boolean;
  isBusy: boolean;
  isDisabled: boolean;
  label: string;
  failed: number;
  onClose(): void;
  onRun(): void;
}

function Footer(props: FooterProps) {
  const { t } = useTranslation();
  const cancel = useRef<{ focus(): void }>(null);
  useFocusInDialog(cancel);
  return (
    <Box float="right">
      <SpaceBetween direction="horizontal" size="xs">
        <Button ref={cancel as never} variant="link" onClick={props.onClose}>
          {t(props.isDone || props.isBusy ? "close" : "cancel")}
        </Button>
        {props.isDone ? (
          props.failed > 0 && (
            <Button variant="primary" onClick={props.onRun}>
              {t("retryFailed", { count: props.failed })}
            </Button>
          )
        ) : (
          <Button variant="primary" loading={props.isBusy} disabled={props.isDisabled} onClick={props.onRun}>
            {props.label}
          </Button>
        )}
      </SpaceBetween>
    </Box>
  );
}

function Forecast({ action, possible, refused }: { action: InstanceAction } & ReturnType<typeof judge>) {
  const { t } = useTranslation("instances");
  const names = (instances: Instance[]) => instances.map((instance) => instance.name).join(", ");
  return (
    <SpaceBetween size="xs">
      {possible.length > 0 && (
        <StatusIndicator>
          {t("bulk.possible", { count: possible.length, action: t(`actions.${action}`), names: names(possible) })}
        </StatusIndicator>
      )}
      {refused.map((group) => (
        <StatusIndicator key={group.whyNot} type="stopped">
          {t("bulk.refused", { count: group.instances.length, reason: group.whyNot, names: names(group.instances) })}
        </StatusIndicator>
      ))}
    </SpaceBetween>
  );
}

function DisksThatGo({ instances }: { instances: Instance[] }) {
  const { t } = useTranslation("instances");
  const format = useFormat();
  return (
    <Alert type="warning" header={t("delete.disks")}>
      <ul>
        {instances.flatMap((instance) =>
          instance.disks.map((disk) => (
            <li key={disk.id}>
              {t("delete.disk", { name: instance.name, size: format.bytes(disk.size_bytes), id: disk.id })}
            </li>
          )),
        )}
      </ul>
    </Alert>
  );
}

function Results({ instances, outcomes }: { instances: Instance[]; outcomes: ReadonlyMap<string, Outcome> }) {
  const { t } = useTranslation("instances");
  return (
    <SpaceBetween size="xs">
      {instances.map((instance) => {
        const outcome = outcomes.get(instance.id);
        if (typeof outcome === "object") {
          return (
            <StatusIndicator key={instance.id} type="error">
              <ProblemText title={instance.name} problem={outcome} />
            </StatusIndicator>
          );
        }
        return (
          <StatusIndicator key={instance.id} type={outcome === "done" ? "success" : "in-progress"}>
            {t(outcome === "done" ? "bulk.done" : "bulk.waiting", { name: instance.name })}
          </StatusIndicator>
        );
      })}
    </SpaceBetween>
  );
}
