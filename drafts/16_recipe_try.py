# usage: abx.py WIDTH EPOCHS [smoothing]
import sys, time, torch
from dataclasses import replace
from labsupport import training
from labsupport.core.randomness import seeded
from labsupport.data import load
from labsupport.models import ModelSpec, whitened
from labsupport.methods import ensembles
torch.set_num_threads(int(sys.argv[3]))
w,e=int(sys.argv[1]),int(sys.argv[2])
c=load('folder:DATA' if len(sys.argv)<5 else sys.argv[4], seed=0)
with seeded(0):
    start=ModelSpec("airbench",c.input_shape,10,{"width":w}).build(); start=whitened(start,"0",c.train.x[:2000])
start[0].weight.requires_grad_(False)
fast=training.fast_recipe(e)
t=time.time()
r=training.fit(start,c,fast,0,groups=training.FasterBiases(fast),objective=training.in_faster_precision(training.CrossEntropy(.2),c.device),progress=False)
print(w,e,'seconds',r.seconds,flush=True); print(r.history[['epoch','train_accuracy','val_accuracy','epoch_seconds']].to_string())
print('val',r.val_accuracy,'mirrored',training.evaluate(ensembles.mirrored(r.model),c.val).accuracy)
torch.save(r.model,f'OUT/ab_{w}_{e}.pt')
