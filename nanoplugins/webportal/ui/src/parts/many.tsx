// One action on one or many things: what will happen before, a result for each after, another try for what failed.
import Box from "@cloudscape-design/components/box";
import Button from "@cloudscape-design/components/button";
import FormField from "@cloudscape-design/components/form-field";
import Input from "@cloudscape-design/components/input";
import Modal from "@cloudscape-design/components/modal";
import SpaceBetween from "@cloudscape-design/components/space-between";
import StatusIndicator from "@cloudscape-design/components/status-indicator";
import { useQueryClient } from "@tanstack/react-query";
import { useRef, useState, type ReactNode } from "react";
import { useTranslation } from "react-i18next";
import type { Problem } from "../api/problem";
import { useFocusInDialog } from "./focus";
import { ProblemText } from "./problem";

export type Outcome = "waiting" | "done" | Problem;
export interface Named {
  id: string;
  name: string;
}
export type Tell = (id: string, outcome: Outcome) => void;

interface ManyProps<T extends Named> {
  title: string;
  label: string;
  /** Those that the action will be asked for. */
  items: T[];
  before: ReactNode;
  /** To be typed first. */
  word?: string | null;
  run(items: T[], tell: Tell): Promise<void>;
  onClose(hasChanged: boolean): void;
}

export function Many<T extends Named>({ title, label, items, before, word = null, run, onClose }: ManyProps<T>) {
  const { t } = useTranslation();
  const client = useQueryClient();
  const [outcomes, setOutcomes] = useState<ReadonlyMap<string, Outcome>>(new Map());
  const [typed, setTyped] = useState("");
  const hasBegun = outcomes.size > 0;
  const isBusy = [...outcomes.values()].includes("waiting");
  const failed = items.filter((item) => typeof outcomes.get(item.id) === "object");
  const start = async (wanted: T[]) => {
    const tell: Tell = (id, outcome) => setOutcomes((old) => new Map(old).set(id, outcome));
    wanted.forEach((item) => tell(item.id, "waiting"));
    await run(wanted, tell);
    await client.invalidateQueries();
  };
  return (
    <Modal
      visible
      size="medium"
      header={title}
      closeAriaLabel={t("close")}
      onDismiss={() => onClose(hasBegun)}
      footer={
        <Footer
          isDone={hasBegun && !isBusy}
          isBusy={isBusy}
          label={label}
          isDisabled={items.length === 0 || (word !== null && typed !== word)}
          failed={failed.length}
          onClose={() => onClose(hasBegun)}
          onRun={() => void start(hasBegun ? failed : items)}
        />
      }
    >
      <SpaceBetween size="m">
        {!hasBegun && before}
        {!hasBegun && word !== null && (
          <FormField label={t("typeName", { name: word })}>
            <Input value={typed} onChange={({ detail }) => setTyped(detail.value)} autoComplete={false} />
          </FormField>
        )}
        {hasBegun && <Results items={items} outcomes={outcomes} />}
      </SpaceBetween>
    </Modal>
  );
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

function Results({ items, outcomes }: { items: Named[]; outcomes: ReadonlyMap<string, Outcome> }) {
  const { t } = useTranslation();
  return (
    <div role="status" className="nano-results">
      {items.map((item) => {
        const outcome = outcomes.get(item.id);
        if (typeof outcome === "object") {
          return (
            <StatusIndicator key={item.id} type="error" wrapText>
              <ProblemText title={item.name} problem={outcome} />
            </StatusIndicator>
          );
        }
        return (
          <StatusIndicator key={item.id} type={outcome === "done" ? "success" : "in-progress"}>
            {t(outcome === "done" ? "itemDone" : "itemWaiting", { name: item.name })}
          </StatusIndicator>
        );
      })}
    </div>
  );
}
